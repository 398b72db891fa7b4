package lib

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// MaxArgs is how many arguments are read unless the program says otherwise.
const MaxArgs = 100

// DecodeArgs makes a table of a query; names that come again get a table of all
// values, names without "=" true.
func DecodeArgs(l *lua.LState, q string, limit int) (t *lua.LTable, cut bool) {
	t = l.NewTable()
	for n := 0; q != ""; {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		if pair == "" {
			continue
		}
		if n++; limit > 0 && n > limit {
			return t, true
		}
		key, val, has := strings.Cut(pair, "=")
		v := lua.LValue(lua.LTrue)
		if has {
			v = lua.LString(UnescapeURI(val))
		}
		if key = UnescapeURI(key); key != "" {
			AddPair(l, t, key, v)
		}
	}
	return t, false
}

// maxQuery is how long a query may become, in bytes.
const maxQuery = 64 << 20

// EncodeArgs is the reverse. Tables are walked in their order.
func EncodeArgs(l *lua.LState, t *lua.LTable) string {
	var b []byte
	add := func(key string, v lua.LValue) {
		if len(b) > maxQuery {
			l.RaiseError("query is longer than %d bytes", maxQuery)
		}
		switch v := v.(type) {
		case lua.LBool:
			if !v {
				return
			}
			b = append(append(b, '&'), EscapeURI(key)...)
		case lua.LString, lua.LNumber:
			b = append(append(append(append(b, '&'), EscapeURI(key)...), '='), EscapeURI(value.Text(v))...)
		default:
			l.RaiseError("attempt to use %s as query arg value", v.Type())
		}
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		key := value.Text(k)
		if all, ok := v.(*lua.LTable); ok {
			for i := 1; i <= all.Len(); i++ {
				add(key, all.RawGetInt(i))
			}
			continue
		}
		add(key, v)
	}
	if len(b) == 0 {
		return ""
	}
	return string(b[1:])
}

// AddPair adds a value; a name that comes again gets a table of all.
func AddPair(l *lua.LState, t *lua.LTable, name string, v lua.LValue) {
	switch old := t.RawGetString(name).(type) {
	case *lua.LNilType:
		t.RawSetString(strings.Clone(name), v)
	case *lua.LTable:
		old.Append(v)
	default:
		all := l.NewTable()
		all.Append(old)
		all.Append(v)
		t.RawSetString(name, all)
	}
}

// Clean makes a header value of a text: a line break would begin a new field.
func Clean(v string) string {
	if strings.ContainsAny(v, "\r\n\x00") {
		return strings.NewReplacer("\r", "%0D", "\n", "%0A", "\x00", "%00").Replace(v)
	}
	return v
}

// CleanName makes a header name of a text, as ngx does: what no name may have is
// escaped, since a blank or a colon would let it pass for another one.
func CleanName(name string) string {
	if strings.IndexFunc(name, notInNames) < 0 {
		return name
	}
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(name) {
		if c := name[i]; notInNames(rune(c)) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func notInNames(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// FieldName is a name as ngx.header takes it: underscores stand for hyphens.
func FieldName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// HopByHop fields are the engine's.
var HopByHop = map[string]bool{"connection": true, "transfer-encoding": true, "content-length": true, "upgrade": true,
	"keep-alive": true, "te": true, "trailer": true}

// EscapeQuery makes a query safe to stand on a request line.
func EscapeQuery(q string) string {
	if !strings.ContainsFunc(q, func(r rune) bool { return r <= 0x20 || r == 0x7f }) {
		return q
	}
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(q) {
		if c := q[i]; c <= 0x20 || c == 0x7f {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
