package strlib

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Bounds are what one call may do. They are asked again for each call.
type Bounds struct {
	// Over is why the call must end, or nil.
	Over func() error
	// Largest is how long one text may be, in bytes.
	Largest int
	// Build counts n bytes that the call has built. It reports whether it may.
	Build func(n int) bool
}

// Concat is the name of the global function that stands for the operator ".."
// where a text could grow by itself.
const Concat = ".."

// Functions are those of the library "string" that need bounds.
func (b *Bounds) Functions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{"find": b.find, "match": b.match, "gmatch": b.gmatch, "gsub": b.gsub, "rep": b.rep}
}

// Install puts the bounded functions into the libraries of strings and tables.
func (b *Bounds) Install(l *lua.LState, texts, tables *lua.LTable) {
	own := func(t *lua.LTable, name string) lua.LGFunction {
		return t.RawGetString(name).(*lua.LFunction).GFunction
	}
	for _, name := range [...]string{"upper", "lower", "reverse", "sub"} {
		texts.RawSetString(name, l.NewFunction(b.Counted(own(texts, name))))
	}
	for name, f := range b.Functions() {
		texts.RawSetString(name, l.NewFunction(f))
	}
	texts.RawSetString("gfind", lua.LNil)
	texts.RawSetString("format", l.NewFunction(b.Format(own(texts, "format"))))
	tables.RawSetString("concat", l.NewFunction(b.Join))
}

// Counted lets the results of f count as built.
func (b *Bounds) Counted(f lua.LGFunction) lua.LGFunction {
	return func(l *lua.LState) int {
		n := f(l)
		for i := l.GetTop() - n + 1; i <= l.GetTop(); i++ {
			if s, ok := l.Get(i).(lua.LString); ok {
				b.built(l, len(s))
			}
		}
		return n
	}
}

// small is up to which length a text is not worth counting.
const small = 256

// room ends the call when a text of n bytes is too long, or is one too many.
func (b *Bounds) room(l *lua.LState, n int) {
	if n > b.Largest || n < 0 {
		l.RaiseError("resulting string too large")
	}
	b.built(l, n)
}

func (b *Bounds) built(l *lua.LState, n int) {
	if n > small && !b.Build(n) {
		l.RaiseError("not enough memory: this call has built too many strings")
	}
}

func (b *Bounds) matcher(l *lua.LState, src, pat string) *matcher {
	return &matcher{l: l, over: b.Over, largest: b.Largest, src: src, pat: pat, steps: stepsBetween}
}

// start is where a search begins, from the argument at i.
func start(l *lua.LState, i, n int) int {
	at := l.OptInt(i, 1)
	if at < 0 {
		at += n + 1
	}
	return min(max(at-1, 0), n)
}

func (b *Bounds) find(l *lua.LState) int {
	src, pat := l.CheckString(1), l.CheckString(2)
	from := start(l, 3, len(src))
	if lua.LVAsBool(l.Get(4)) || !strings.ContainsAny(pat, "^$*+?.([%-") {
		i := strings.Index(src[from:], pat)
		if i < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(from + i + 1))
		l.Push(lua.LNumber(from + i + len(pat)))
		return 2
	}
	m := b.matcher(l, src, pat)
	s, e := m.search(from)
	if e < 0 {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LNumber(s + 1))
	l.Push(lua.LNumber(e))
	return 2 + m.push(s, e, false)
}

// search finds the first match from s on; end is -1 when there is none.
func (m *matcher) search(s int) (at, end int) {
	p := 0
	if m.pat != "" && m.pat[0] == '^' {
		p = 1
	}
	for ; s <= len(m.src); s++ {
		m.level = 0
		if e := m.match(s, p); e >= 0 {
			return s, e
		}
		if p == 1 {
			break
		}
	}
	return 0, -1
}

// push pushes the captures; whole says that the match stands in for none.
func (m *matcher) push(s, e int, whole bool) int {
	if m.level == 0 && whole {
		m.l.Push(lua.LString(m.src[s:e]))
		return 1
	}
	for i := range m.level {
		m.l.Push(m.captured(i))
	}
	return m.level
}

func (m *matcher) captured(i int) lua.LValue {
	c := m.captures[i]
	switch c.n {
	case position:
		return lua.LNumber(c.from + 1)
	case unfinished:
		m.fail("unfinished capture")
	}
	return lua.LString(m.src[c.from : c.from+c.n])
}

func (b *Bounds) match(l *lua.LState) int {
	src, pat := l.CheckString(1), l.CheckString(2)
	m := b.matcher(l, src, pat)
	s, e := m.search(start(l, 3, len(src)))
	if e < 0 {
		l.Push(lua.LNil)
		return 1
	}
	return m.push(s, e, true)
}

func (b *Bounds) gmatch(l *lua.LState) int {
	src, pat := l.CheckString(1), l.CheckString(2)
	s := 0
	l.Push(l.NewFunction(func(l *lua.LState) int {
		m := b.matcher(l, src, pat)
		for ; s <= len(src); s++ {
			m.level = 0
			e := m.match(s, 0)
			if e < 0 {
				continue
			}
			at := s
			if s = e; e == at {
				s++
			}
			return m.push(at, e, true)
		}
		l.Push(lua.LNil)
		return 1
	}))
	return 1
}

func (b *Bounds) gsub(l *lua.LState) int {
	src, pat, repl := l.CheckString(1), l.CheckString(2), l.Get(3)
	switch repl.(type) {
	case lua.LString, lua.LNumber, *lua.LTable, *lua.LFunction:
	default:
		l.ArgError(3, "string/function/table expected")
	}
	limit := l.OptInt(4, len(src)+1)
	p, anchored := 0, false
	if pat != "" && pat[0] == '^' {
		p, anchored = 1, true
	}
	m := b.matcher(l, src, pat)
	var out strings.Builder
	n, s := 0, 0
	for n < limit {
		m.level = 0
		e := m.match(s, p)
		if e >= 0 {
			n++
			m.replace(&out, repl, s, e)
			m.fits(&out)
		}
		if e > s {
			s = e
		} else if s < len(src) {
			out.WriteByte(src[s])
			s++
		} else {
			break
		}
		if anchored {
			break
		}
	}
	if s < len(src) {
		out.WriteString(src[s:])
	}
	b.room(l, out.Len())
	l.Push(lua.LString(out.String()))
	l.Push(lua.LNumber(n))
	return 2
}

// replace writes what stands in for the match from s to e.
func (m *matcher) replace(out *strings.Builder, repl lua.LValue, s, e int) {
	var v lua.LValue
	switch r := repl.(type) {
	case *lua.LTable:
		v = m.l.GetTable(r, m.first(s, e))
	case *lua.LFunction:
		m.l.Push(r)
		m.l.Call(m.push(s, e, true), 1)
		v = m.l.Get(-1)
		m.l.Pop(1)
	default:
		m.expand(out, lua.LVAsString(repl), s, e)
		return
	}
	switch v.(type) {
	case lua.LString, lua.LNumber:
		out.WriteString(lua.LVAsString(v))
	default:
		if lua.LVAsBool(v) {
			m.fail("invalid replacement value (a %s)", v.Type().String())
		}
		out.WriteString(m.src[s:e])
	}
}

// first is the first capture, or the whole match.
func (m *matcher) first(s, e int) lua.LValue {
	if m.level == 0 {
		return lua.LString(m.src[s:e])
	}
	return m.captured(0)
}

// fits ends the call when out has become too long.
func (m *matcher) fits(out *strings.Builder) {
	if out.Len() > m.largest {
		m.fail("resulting string too large")
	}
}

func (m *matcher) expand(out *strings.Builder, repl string, s, e int) {
	for i := 0; i < len(repl); i++ {
		if repl[i] != '%' || i+1 == len(repl) {
			out.WriteByte(repl[i])
			continue
		}
		i++
		m.fits(out)
		switch c := repl[i]; {
		case !isDigit(c):
			out.WriteByte(c)
		case c == '0':
			out.WriteString(m.src[s:e])
		case c == '1':
			out.WriteString(lua.LVAsString(m.first(s, e)))
		case int(c-'1') < m.level:
			out.WriteString(lua.LVAsString(m.captured(int(c - '1'))))
		default:
			m.fail("invalid capture index")
		}
	}
}

func (b *Bounds) rep(l *lua.LState) int {
	text, n := l.CheckString(1), l.CheckInt(2)
	if n <= 0 || text == "" {
		l.Push(lua.LString(""))
		return 1
	}
	if n > b.Largest/len(text) {
		l.RaiseError("resulting string too large")
	}
	b.room(l, n*len(text))
	l.Push(lua.LString(strings.Repeat(text, n)))
	return 1
}

// Format bounds string.format, which format does.
func (b *Bounds) Format(format lua.LGFunction) lua.LGFunction {
	return func(l *lua.LState) int {
		b.checkFormat(l, l.CheckString(1))
		total := 0
		for i := 1; i <= l.GetTop(); i++ {
			if s, ok := l.Get(i).(lua.LString); ok {
				total += 4 * len(s) // quoted, a character may become four
			}
		}
		if total > 4*b.Largest {
			l.RaiseError("resulting string too large")
		}
		return b.Counted(format)(l)
	}
}

// checkFormat lets pass what Lua knows: flags, and two digits of width and of
// precision at most.
func (b *Bounds) checkFormat(l *lua.LState, f string) {
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			continue
		}
		i++
		for i < len(f) && strings.IndexByte("-+ #0", f[i]) >= 0 {
			i++
		}
		from := i
		for i < len(f) && (isDigit(f[i]) || f[i] == '.') {
			i++
		}
		for _, digits := range strings.Split(f[from:i], ".") {
			if len(digits) > 2 {
				l.RaiseError("invalid format (width or precision too long)")
			}
		}
		if i < len(f) && strings.IndexByte("[*", f[i]) >= 0 {
			l.RaiseError("invalid option '%%%c' to 'format'", f[i])
		}
	}
}

// Concat is the operator ".." over any number of operands, from the right.
func (b *Bounds) Concat(l *lua.LState) int {
	i := l.GetTop()
	acc := l.Get(i)
	for i > 1 {
		first := i
		for first > 1 && lua.LVCanConvToString(l.Get(first-1)) {
			first--
		}
		if !lua.LVCanConvToString(acc) || first == i {
			acc = concatenated(l, l.Get(i-1), acc)
			i--
			continue
		}
		parts := make([]string, 0, i-first+1)
		total := 0
		for j := first; j < i; j++ {
			parts = append(parts, lua.LVAsString(l.Get(j)))
			total += len(parts[j-first])
		}
		parts = append(parts, lua.LVAsString(acc))
		b.room(l, total+len(parts[len(parts)-1]))
		acc = lua.LString(strings.Join(parts, ""))
		i = first
	}
	l.Push(acc)
	return 1
}

// concatenated is what the metamethod of one of the operands makes of them.
func concatenated(l *lua.LState, a, b lua.LValue) lua.LValue {
	f := l.GetMetaField(a, "__concat")
	if f == lua.LNil {
		f = l.GetMetaField(b, "__concat")
	}
	if f.Type() != lua.LTFunction {
		l.RaiseError("cannot perform concat operation between %v and %v", a.Type().String(), b.Type().String())
	}
	l.Push(f)
	l.Push(a)
	l.Push(b)
	l.Call(2, 1)
	v := l.Get(-1)
	l.Pop(1)
	return v
}

// Join is table.concat. The interpreter's own gathers the parts on its stack,
// which some ten thousand fill.
func (b *Bounds) Join(l *lua.LState) int {
	t, sep := l.CheckTable(1), l.OptString(2, "")
	var out strings.Builder
	for i, last := l.OptInt(3, 1), l.OptInt(4, t.Len()); i <= last; i++ {
		v := t.RawGetInt(i)
		if !lua.LVCanConvToString(v) {
			l.RaiseError("invalid value (%s) at index %d in table for 'concat'", v.Type().String(), i)
		}
		out.WriteString(lua.LVAsString(v))
		if i < last {
			out.WriteString(sep)
		}
		if out.Len() > b.Largest {
			l.RaiseError("resulting string too large")
		}
	}
	b.room(l, out.Len())
	l.Push(lua.LString(out.String()))
	return 1
}
