package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Null is ngx.null and cjson.null. All states share it: it never changes.
var Null = func() *lua.LUserData {
	mt := new(lua.LTable)
	mt.Metatable = lua.LNil
	mt.RawSetString("__metatable", lua.LFalse)
	mt.RawSetString("__tostring", &lua.LFunction{IsG: true, Env: mt, GFunction: func(l *lua.LState) int {
		l.Push(lua.LString("userdata: NULL"))
		return 1
	}})
	return &lua.LUserData{Env: mt, Metatable: mt}
}()

// ArrayMark is the metatable of arrays that came out of JSON empty. All states
// share it; programs cannot reach it.
var ArrayMark = func() *lua.LTable {
	mt := new(lua.LTable)
	mt.Metatable = lua.LNil
	mt.RawSetString("__metatable", lua.LFalse)
	return mt
}()

// maxDepth of JSON values, both ways.
const maxDepth = 1000

var errDepth = errors.New("Cannot serialise, excessive depth (1001)")

// Decode reads JSON. Keys keep their order, null becomes Null. The texts of
// errors are cjson's.
func Decode(b []byte) (lua.LValue, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeNext(d, 0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = fmt.Errorf("Expected the end but found invalid token at character %d", d.InputOffset()+1)
		}
	}
	return v, err
}

func decodeNext(d *json.Decoder, depth int) (lua.LValue, error) {
	tok, err := d.Token()
	if err != nil {
		what := "invalid token"
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			what = "T_END"
		}
		return lua.LNil, fmt.Errorf("Expected value but found %s at character %d", what, d.InputOffset()+1)
	}
	switch v := tok.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return lua.LNil, fmt.Errorf("Found too many nested data structures (%d)", maxDepth+1)
		}
		if v == '[' {
			return decodeArray(d, depth+1)
		}
		return decodeObject(d, depth+1)
	case json.Number:
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil && !math.IsInf(f, 0) {
			return lua.LNil, err
		}
		return lua.LNumber(f), nil
	case string:
		return lua.LString(v), nil
	case bool:
		return lua.LBool(v), nil
	}
	return Null, nil
}

func decodeArray(d *json.Decoder, depth int) (lua.LValue, error) {
	t := Table()
	for d.More() {
		v, err := decodeNext(d, depth)
		if err != nil {
			return lua.LNil, err
		}
		t.Append(v)
	}
	if t.Len() == 0 {
		t.Metatable = ArrayMark
	}
	return t, closing(d)
}

func decodeObject(d *json.Decoder, depth int) (lua.LValue, error) {
	t := Table()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return lua.LNil, fmt.Errorf("Expected object key string but found invalid token at character %d", d.InputOffset()+1)
		}
		v, err := decodeNext(d, depth)
		if err != nil {
			return lua.LNil, err
		}
		t.RawSetString(key.(string), v)
	}
	return t, closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("Expected comma or closing bracket but found invalid token at character %d", d.InputOffset()+1)
	}
	return nil
}

// Encoder writes JSON as cjson does: an empty table is an object, unless it is
// marked as an array.
type Encoder struct {
	Limit  int         // bytes of the text
	Array  *lua.LTable // another metatable that marks arrays; may be nil
	Force  bool        // functions and the like are written as text
	Sorted bool        // keys in order

	b []byte
}

// Encode returns the JSON of v.
func (e *Encoder) Encode(v lua.LValue) ([]byte, error) {
	e.b = e.b[:0]
	err := e.value(v, 0)
	return e.b, err
}

func (e *Encoder) value(v lua.LValue, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if len(e.b) > e.Limit {
		return fmt.Errorf("Cannot serialise, more than %d bytes", e.Limit)
	}
	switch v := v.(type) {
	case *lua.LNilType:
		e.b = append(e.b, "null"...)
	case lua.LBool:
		e.b = strconv.AppendBool(e.b, bool(v))
	case lua.LNumber:
		return e.number(float64(v))
	case lua.LString:
		e.b = AppendString(e.b, string(v))
	case *lua.LTable:
		return e.table(v, depth)
	default:
		if v == lua.LValue(Null) {
			e.b = append(e.b, "null"...)
			return nil
		}
		if e.Force {
			e.b = AppendString(e.b, v.String())
			return nil
		}
		return fmt.Errorf("Cannot serialise %s: type not supported", v.Type())
	}
	return nil
}

func (e *Encoder) number(f float64) error {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return errors.New("Cannot serialise number: must not be NaN or Infinity")
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e14 {
		e.b = strconv.AppendInt(e.b, int64(f), 10)
		return nil
	}
	e.b = append(e.b, FormatNumber(f)...)
	return nil
}

// FormatNumber is C's %.14g.
func FormatNumber(f float64) string {
	text := strconv.FormatFloat(f, 'e', 13, 64)
	mantissa, exp, _ := strings.Cut(text, "e")
	n, _ := strconv.Atoi(exp)
	if n < -4 || n >= 14 {
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		return fmt.Sprintf("%se%+03d", mantissa, n)
	}
	text = strconv.FormatFloat(f, 'f', max(13-n, 0), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func (e *Encoder) table(t *lua.LTable, depth int) error {
	n, err := e.arrayLen(t)
	if err != nil {
		return err
	}
	if n >= 0 {
		e.b = append(e.b, '[')
		for i := 1; i <= n; i++ {
			if i > 1 {
				e.b = append(e.b, ',')
			}
			if err := e.value(t.RawGetInt(i), depth+1); err != nil {
				return err
			}
		}
		e.b = append(e.b, ']')
		return nil
	}
	e.b = append(e.b, '{')
	first := true
	if e.Sorted {
		t = inOrder(t)
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if !first {
			e.b = append(e.b, ',')
		}
		first = false
		switch k := k.(type) {
		case lua.LString:
			e.b = AppendString(e.b, string(k))
		case lua.LNumber:
			e.b = AppendString(e.b, k.String())
		default:
			return errors.New("Cannot serialise table: table key must be a number or string")
		}
		e.b = append(e.b, ':')
		if err := e.value(v, depth+1); err != nil {
			return err
		}
	}
	e.b = append(e.b, '}')
	return nil
}

// inOrder is a table with the same items, which are walked by name.
func inOrder(t *lua.LTable) *lua.LTable {
	var keys []lua.LValue
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b lua.LValue) int { return strings.Compare(a.String(), b.String()) })
	out := Table()
	for _, k := range keys {
		out.RawSetH(k, t.RawGet(k))
	}
	return out
}

// arrayLen is the length of a table that is an array, −1 for an object.
func (e *Encoder) arrayLen(t *lua.LTable) (int, error) {
	if mt := t.Metatable; mt != lua.LNil && (mt == lua.LValue(ArrayMark) || mt == lua.LValue(e.Array)) {
		return t.Len(), nil
	}
	items, top := 0, 0
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		n, ok := k.(lua.LNumber)
		if !ok || n < 1 || n != lua.LNumber(math.Trunc(float64(n))) || n > 1<<31 {
			return -1, nil
		}
		items++
		top = max(top, int(n))
	}
	if items == 0 {
		return -1, nil
	}
	if top > 10 && top > 2*items {
		if e.Force {
			return -1, nil
		}
		return 0, errors.New("Cannot serialise table: excessively sparse array")
	}
	return top, nil
}

// AppendString appends s as a string of JSON, as cjson writes it for APISIX: "/"
// and bytes above 127 are left as they are.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
