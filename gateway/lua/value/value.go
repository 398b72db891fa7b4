// Package value has what Lua values are outside of Lua: the text that is printed,
// and JSON. The tables that it makes belong to no interpreter.
//
// It does not know requests.
package value

import lua "github.com/yuin/gopher-lua"

// Table is an empty table. Unlike the interpreter's it has no room set aside.
func Table() *lua.LTable { return &lua.LTable{Metatable: lua.LNil} }

// maxPrinted bounds what AppendPrinted makes of one table, in bytes of text and
// of the items walked over: a table may be many of the items of another one, and
// that one of a third.
const (
	maxPrinted = 64 << 20
	itemSize   = 16
)

// AppendPrinted appends v as ngx.print writes it: of a table the items of arrays
// within arrays. What is beyond maxPrinted is left out.
func AppendPrinted(b []byte, v lua.LValue) []byte {
	p := printer{b: b, left: maxPrinted}
	p.value(v, 0)
	return p.b
}

// Text is what AppendPrinted makes of v; of a string, the string itself.
func Text(v lua.LValue) string {
	if s, ok := v.(lua.LString); ok {
		return string(s)
	}
	return string(AppendPrinted(nil, v))
}

type printer struct {
	b    []byte
	left int
}

func (p *printer) value(v lua.LValue, depth int) {
	switch v := v.(type) {
	case lua.LString:
		if p.left -= len(v); p.left >= 0 || depth == 0 {
			p.b = append(p.b, v...)
		}
	case lua.LNumber:
		p.b = append(p.b, FormatNumber(float64(v))...)
	case *lua.LTable:
		for i, n := 1, v.Len(); i <= n && depth < maxNested && p.left > 0; i++ {
			p.left -= itemSize
			p.value(v.RawGetInt(i), depth+1)
		}
	default:
		if v == lua.LValue(Null) {
			p.b = append(p.b, "null"...)
		} else {
			p.b = append(p.b, v.String()...)
		}
	}
}

// maxNested is how deep tables may lie in each other to be printed.
const maxNested = 100
