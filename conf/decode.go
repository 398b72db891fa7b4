package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder turns a tree into the typed configuration. It walks types instead of
// letting the YAML library do it, so that every error can name key and line,
// and every key that nobody reads can be reported.
type decoder struct {
	warnings *[]string // nil: do not report
}

func newDecoder(warnings *[]string) *decoder { return &decoder{warnings} }

// decode fills dst, a pointer to a struct. What n lacks keeps its value when it
// is a scalar, and becomes nil when it is a list, a map or a pointer: null in
// the user's file deletes.
func (d *decoder) decode(n *node, dst any) error {
	return d.object(n, reflect.ValueOf(dst).Elem(), "")
}

// custom are the types that read their node themselves.
type custom interface{ decodeConf(n *node) error }

var (
	rawType    = reflect.TypeFor[json.RawMessage]()
	prefixType = reflect.TypeFor[netip.Prefix]()
	timeType   = reflect.TypeFor[time.Duration]()
	sizeType   = reflect.TypeFor[Size]()
	switchType = reflect.TypeFor[Switch]()
)

func (d *decoder) value(n *node, v reflect.Value, path string) error {
	if c, ok := v.Addr().Interface().(custom); ok {
		if err := c.decodeConf(n); err != nil {
			return n.errorf("%s: %w", path, err)
		}
		return nil
	}
	switch v.Type() {
	case rawType:
		v.SetBytes(n.json())
		return nil
	case prefixType, timeType, sizeType, switchType:
		return d.unit(n, v, path)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(n, v, path)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(n, v.Elem(), path)
	case reflect.Slice:
		return d.slice(n, v, path)
	case reflect.Map:
		return d.mapping(n, v, path)
	}
	return d.scalar(n, v, path)
}

func (d *decoder) object(n *node, v reflect.Value, path string) error {
	if n.kind != kindMap && (n.kind != kindList || len(n.list) > 0) {
		return n.errorf("%s: a map is wanted, not %s", path, n.show())
	}
	known := map[string]bool{}
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("conf")
		if key == "-" {
			continue
		}
		known[key] = true
		f := v.Field(i)
		member := n.vals[key]
		if member == nil {
			switch f.Kind() {
			case reflect.Slice, reflect.Map, reflect.Pointer:
				f.SetZero()
			}
			continue
		}
		if err := d.value(member, f, join(path, key)); err != nil {
			return err
		}
	}
	return d.unread(n, known, path)
}

// unread reports the keys of the user's file that no field reads. Elsewhere
// APISIX accepts anything; below sluice a stranger is a mistake.
func (d *decoder) unread(n *node, known map[string]bool, path string) error {
	if d.warnings == nil {
		return nil
	}
	for _, key := range n.keys {
		m := n.vals[key]
		if m == nil || known[key] || m.file == defaultsFile {
			continue
		}
		at := join(path, key)
		if strings.HasPrefix(at, "sluice.") {
			return m.errorf("%s: unknown key (value %s)", at, m.show())
		}
		if m.kind == kindString && m.text == "" {
			continue
		}
		why, ok := ignored[at]
		if !ok {
			why = "unknown key"
		}
		*d.warnings = append(*d.warnings, fmt.Sprintf("%s:%d: %s has no effect: %s", m.file, m.line, at, why))
	}
	return nil
}

func (d *decoder) slice(n *node, v reflect.Value, path string) error {
	if n.kind == kindMap && len(n.keys) == 0 {
		v.SetZero()
		return nil
	}
	if n.kind != kindList && n.kind != kindMap && (path == "apisix.node_listen" || path == "apisix.data_encryption.keyring") {
		n = &node{kind: kindList, file: n.file, line: n.line, list: []*node{n}}
	}
	if n.kind != kindList {
		return n.errorf("%s: a list is wanted, not %s", path, n.show())
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.list), len(n.list)))
	for i, item := range n.list {
		if err := d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) mapping(n *node, v reflect.Value, path string) error {
	if n.kind != kindMap && (n.kind != kindList || len(n.list) > 0) {
		return n.errorf("%s: a map is wanted, not %s", path, n.show())
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, key := range n.keys {
		member := n.vals[key]
		if member == nil {
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(member, e, join(path, key)); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key), e)
	}
	return nil
}

// unit reads the scalars that have a syntax of their own.
func (d *decoder) unit(n *node, v reflect.Value, path string) error {
	var x any
	var err error
	switch v.Type() {
	case prefixType:
		x, err = parseNetwork(n.text)
	case timeType:
		x, err = parseTime(n.text)
	case sizeType:
		x, err = parseSize(n.text)
	case switchType:
		on := n.text == "on" || n.text == "true"
		if !on && n.text != "off" && n.text != "false" {
			err = errors.New(`"on" or "off" is wanted`)
		}
		x = Switch(on)
	}
	if err != nil {
		return n.errorf("%s: %s: %w", path, n.show(), err)
	}
	v.Set(reflect.ValueOf(x))
	return nil
}

func (d *decoder) scalar(n *node, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		// numbers and booleans too: keys and names may look like them
		if n.kind == kindString || n.kind == kindNumber || n.kind == kindBool {
			v.SetString(n.text)
			return nil
		}
		return n.errorf("%s: a string is wanted, not %s", path, n.show())
	case reflect.Bool:
		if n.kind != kindBool {
			return n.errorf("%s: true or false is wanted, not %s", path, n.show())
		}
		v.SetBool(n.text == "true")
	case reflect.Int:
		i, err := strconv.ParseInt(strings.TrimSpace(n.text), 0, 64)
		if n.kind != kindNumber || err != nil || i > math.MaxInt32 || i < math.MinInt32 {
			return n.errorf("%s: an integer is wanted, not %s", path, n.show())
		}
		v.SetInt(i)
	default:
		panic("conf: no decoding for " + v.Type().String())
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
