// Package value has what Lua values are outside of Lua: the text that is printed,
// and JSON. The tables that it makes belong to no interpreter.
//
// It does not know requests.
package value

import lua "github.com/yuin/gopher-lua"

// Table is an empty table. Unlike the interpreter's it has no room set aside.
func Table() *lua.LTable { return &lua.LTable{Metatable: lua.LNil} }

// Flatten joins the strings and numbers of nested arrays, as ngx.print does.
func Flatten(t *lua.LTable) []byte {
	var b []byte
	for i := 1; i <= t.Len(); i++ {
		b = appendPrinted(b, t.RawGetInt(i), 0)
	}
	return b
}

// AppendPrinted appends v as ngx.print writes it.
func AppendPrinted(b []byte, v lua.LValue) []byte { return appendPrinted(b, v, 0) }

func appendPrinted(b []byte, v lua.LValue, depth int) []byte {
	switch v := v.(type) {
	case lua.LString:
		return append(b, v...)
	case lua.LNumber:
		return append(b, FormatNumber(float64(v))...)
	case *lua.LTable:
		for i := 1; i <= v.Len() && depth < 100; i++ {
			b = appendPrinted(b, v.RawGetInt(i), depth+1)
		}
		return b
	}
	if v == lua.LValue(Null) {
		return append(b, "null"...)
	}
	return append(b, v.String()...)
}
