// Package headerop compiles the header operations of plugin configurations:
// add, set and remove, with variables and captures in the values. Whatever a
// value comes to, it cannot end its field.
//
// It does not know whether a header is a request's or a response's.
package headerop

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// Fields are names with values; each value a text, a number, or a list of these.
type Fields map[string]Values

// Values are the values of one field as configured.
type Values struct {
	texts []string
	list  bool // they were a list
	bad   bool // one was neither text nor number
}

// UnmarshalJSON accepts one value as a list of one. A number stays as written.
func (v *Values) UnmarshalJSON(b []byte) error {
	list := []json.RawMessage{b}
	if v.list = b[0] == '['; v.list {
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
	}
	v.texts = make([]string, len(list))
	for i, x := range list {
		switch x = bytes.TrimSpace(x); {
		case x[0] == '"':
			if err := json.Unmarshal(x, &v.texts[i]); err != nil {
				return err
			}
		case x[0] == '-' || '0' <= x[0] && x[0] <= '9':
			v.texts[i] = string(x)
		default:
			v.bad = true
		}
	}
	return nil
}

// IsFlat tells the older form of a headers member, {name: value}, from the
// newer one, {add, set, remove}.
func IsFlat(b []byte) (bool, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return false, err
	}
	for _, name := range [...]string{"add", "set", "remove"} {
		if m := bytes.TrimSpace(members[name]); len(m) > 0 && (m[0] == '{' || m[0] == '[') {
			return false, nil
		}
	}
	return true, nil
}

// CheckFlat refuses names and values that the older form does not allow.
func (f Fields) CheckFlat() error {
	for _, name := range f.names() {
		if v := f[name]; v.bad || v.list {
			return errors.New("invalid type as header value")
		}
		if name == "" {
			return errors.New("invalid field length in header")
		}
	}
	return nil
}

// CheckText refuses values with anything but printable ASCII in them.
func (f Fields) CheckText() error {
	for _, name := range f.names() {
		for _, text := range f[name].texts {
			if strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) >= 0 {
				return errors.New("invalid value character in header")
			}
		}
	}
	return nil
}

func (f Fields) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Operations are compiled: adding comes first, then setting, then removing.
// The zero value does nothing. Safe for concurrent use once it is complete.
type Operations struct {
	add, set []operation
	remove   []string
	captures bool // a value mentions one
}

// UseCaptures reports whether a value mentions a capture.
func (o *Operations) UseCaptures() bool { return o.captures }

type operation struct {
	name   string
	values []*value
}

// Add makes o add f's fields.
func (o *Operations) Add(f Fields) error { return o.compile(f, &o.add) }

// Set makes o replace f's fields; one whose value comes out empty is removed.
func (o *Operations) Set(f Fields) error { return o.compile(f, &o.set) }

// AddField makes o add one field.
func (o *Operations) AddField(name, text string) error {
	return o.compile(Fields{name: {texts: []string{text}}}, &o.add)
}

// Remove makes o remove fields.
func (o *Operations) Remove(names []string) {
	for _, name := range names {
		if !isFraming(name) {
			o.remove = append(o.remove, name)
		}
	}
}

func (o *Operations) compile(f Fields, to *[]operation) error {
	for _, name := range f.names() {
		if !validName(name) {
			return errors.New("invalid field character in header")
		}
		if f[name].bad {
			return errors.New("invalid type as header value")
		}
		if isFraming(name) {
			continue
		}
		op := operation{name: name}
		for _, text := range f[name].texts {
			v, err := parseValue(text)
			if err != nil {
				return err
			}
			op.values = append(op.values, v)
			o.captures = o.captures || v.captures
		}
		*to = append(*to, op)
	}
	return nil
}

// isFraming are the fields that say how a message is framed and, in requests,
// which host it is for: they are the engine's, no operation touches them.
func isFraming(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "content-length", "transfer-encoding", "keep-alive",
		"te", "trailer", "upgrade", "proxy-connection", "http2-settings":
		return true
	}
	return false
}

func validName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// Apply does the operations on h. captures are what $0, $1 … stand for; one
// that does not exist is empty.
func (o *Operations) Apply(c *plugins.Ctx, h *wire.Header, captures []string) {
	for i := range o.add {
		op := &o.add[i]
		for _, v := range op.values {
			h.Add(op.name, v.render(c, captures))
		}
	}
	for i := range o.set {
		o.set[i].put(c, h, captures)
	}
	for _, name := range o.remove {
		h.Del(name)
	}
}

// put replaces a field. Its values are made before it goes: they may be made of it.
func (op *operation) put(c *plugins.Ctx, h *wire.Header, captures []string) {
	if len(op.values) == 1 {
		if v := op.values[0].render(c, captures); v != "" {
			h.Set(op.name, v)
		} else {
			h.Del(op.name)
		}
		return
	}
	list := make([]string, len(op.values))
	for i, v := range op.values {
		list[i] = v.render(c, captures)
	}
	h.Del(op.name)
	for _, v := range list {
		h.Add(op.name, v)
	}
}
