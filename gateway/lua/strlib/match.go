// Package strlib is Lua's library of strings with bounds: a pattern that
// backtracks for long ends with its call's time, and nothing grows beyond what
// a call may build. It does not know requests or programs.
package strlib

import (
	lua "github.com/yuin/gopher-lua"
)

// maxCaptures and maxDepth are those of Lua 5.1.
const (
	maxCaptures = 32
	maxDepth    = 200
)

const (
	stepsBetween   = 1 << 13 // from one look at the time of a running match to the next
	comparedAtOnce = 16      // characters that are compared in one unit of work
)

// matcher matches one pattern against one text.
type matcher struct {
	l        *lua.LState
	over     func() error
	largest  int // bytes of a result
	src, pat string
	depth    int
	steps    int // left until the next look at the time
	level    int // captures begun
	captures [maxCaptures]capture
}

// capture is where a capture begins and how long it is, or one of these.
type capture struct{ from, n int }

const (
	unfinished = -1
	position   = -2
)

func (m *matcher) fail(format string, args ...any) { m.l.RaiseError(format, args...) }

// step counts a unit of work.
func (m *matcher) step() { m.cost(1) }

// cost counts n units of work: a step, or a character of a set.
func (m *matcher) cost(n int) {
	if m.steps -= n; m.steps > 0 {
		return
	}
	m.steps = stepsBetween
	if err := m.over(); err != nil {
		m.fail("%s", err.Error())
	}
}

// match returns where the match of the pattern from p at s ends, or -1.
func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > maxDepth {
		m.fail("pattern too complex")
	}
	e := m.rest(s, p)
	m.depth--
	return e
}

func (m *matcher) rest(s, p int) int {
	for p < len(m.pat) {
		m.step()
		switch c := m.pat[p]; {
		case c == '(' && p+1 < len(m.pat) && m.pat[p+1] == ')':
			return m.begin(s, p+2, position)
		case c == '(':
			return m.begin(s, p+1, unfinished)
		case c == ')':
			return m.end(s, p+1)
		case c == '$' && p+1 == len(m.pat):
			if s == len(m.src) {
				return s
			}
			return -1
		}
		if next, after, special := m.special(s, p); special {
			if next < 0 {
				return -1
			}
			s, p = next, after
			continue
		}
		end := m.classEnd(p)
		var suffix byte
		if end < len(m.pat) {
			suffix = m.pat[end]
		}
		switch suffix {
		case '?':
			if m.single(s, p, end) {
				if e := m.match(s+1, end+1); e >= 0 {
					return e
				}
			}
			p = end + 1
		case '*':
			return m.greedy(s, p, end, 0)
		case '+':
			return m.greedy(s, p, end, 1)
		case '-':
			return m.lazy(s, p, end)
		default:
			if !m.single(s, p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
	return s
}

// special matches what begins with % and is no class: %b, %f and %1.
func (m *matcher) special(s, p int) (next, after int, ok bool) {
	if m.pat[p] != '%' || p+1 == len(m.pat) {
		return 0, 0, false
	}
	switch c := m.pat[p+1]; {
	case c == 'b':
		return m.balance(s, p+2), p + 4, true
	case c == 'f':
		end, at := m.frontier(s, p+2)
		if !at {
			s = -1
		}
		return s, end, true
	case isDigit(c):
		return m.again(s, c), p + 2, true
	}
	return 0, 0, false
}

// single reports whether the class from p to end takes the character at s.
func (m *matcher) single(s, p, end int) bool {
	return s < len(m.src) && m.takes(m.src[s], p, end)
}

func (m *matcher) takes(c byte, p, end int) bool {
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return class(c, m.pat[p+1])
	case '[':
		return m.set(c, p, end-1)
	}
	return m.pat[p] == c
}

// greedy takes as many as there are, at least least, and then gives back one
// after the other.
func (m *matcher) greedy(s, p, end, least int) int {
	n := 0
	for m.single(s+n, p, end) {
		m.step()
		n++
	}
	for ; n >= least; n-- {
		m.step()
		if e := m.match(s+n, end+1); e >= 0 {
			return e
		}
	}
	return -1
}

// lazy takes one more only when the rest does not match.
func (m *matcher) lazy(s, p, end int) int {
	for {
		m.step()
		if e := m.match(s, end+1); e >= 0 {
			return e
		}
		if !m.single(s, p, end) {
			return -1
		}
		s++
	}
}

func (m *matcher) begin(s, p, what int) int {
	if m.level >= maxCaptures {
		m.fail("too many captures")
	}
	m.captures[m.level] = capture{s, what}
	m.level++
	e := m.match(s, p)
	if e < 0 {
		m.level--
	}
	return e
}

func (m *matcher) end(s, p int) int {
	i := m.level - 1
	for i >= 0 && m.captures[i].n != unfinished {
		i--
	}
	if i < 0 {
		m.fail("invalid pattern capture")
	}
	m.captures[i].n = s - m.captures[i].from
	e := m.match(s, p)
	if e < 0 {
		m.captures[i].n = unfinished
	}
	return e
}

func (m *matcher) balance(s, p int) int {
	if p+1 >= len(m.pat) {
		m.fail("unbalanced pattern")
	}
	open, shut := m.pat[p], m.pat[p+1]
	if s >= len(m.src) || m.src[s] != open {
		return -1
	}
	for n, i := 1, s+1; i < len(m.src); i++ {
		m.step()
		switch m.src[i] {
		case shut:
			if n--; n == 0 {
				return i + 1
			}
		case open:
			n++
		}
	}
	return -1
}

func (m *matcher) frontier(s, p int) (next int, ok bool) {
	if p >= len(m.pat) || m.pat[p] != '[' {
		m.fail("missing '[' after '%%f' in pattern")
	}
	end := m.classEnd(p)
	var before, here byte
	if s > 0 {
		before = m.src[s-1]
	}
	if s < len(m.src) {
		here = m.src[s]
	}
	return end, !m.set(before, p, end-1) && m.set(here, p, end-1)
}

// again matches what a capture has.
func (m *matcher) again(s int, digit byte) int {
	i := int(digit) - '1'
	if i < 0 || i >= m.level || m.captures[i].n == unfinished {
		m.fail("invalid capture index")
	}
	c := m.captures[i]
	m.cost(max(c.n, 0) / comparedAtOnce)
	if c.n < 0 || s+c.n > len(m.src) || m.src[s:s+c.n] != m.src[c.from:c.from+c.n] {
		return -1
	}
	return s + c.n
}

// classEnd is where the class at p ends.
func (m *matcher) classEnd(p int) int {
	switch m.pat[p] {
	case '%':
		if p+1 == len(m.pat) {
			m.fail("malformed pattern (ends with '%%')")
		}
		return p + 2
	case '[':
		p++
		from := p
		if p < len(m.pat) && m.pat[p] == '^' {
			p++
		}
		for first := true; first || p >= len(m.pat) || m.pat[p] != ']'; first = false {
			if p >= len(m.pat) {
				m.fail("malformed pattern (missing ']')")
			}
			if m.pat[p] == '%' {
				p++
			}
			p++
		}
		m.cost(p - from)
	}
	return p + 1
}

// set reports whether c is in the set from p to its closing bracket at end.
func (m *matcher) set(c byte, p, end int) bool {
	in := true
	m.cost(end - p)
	p++
	if m.pat[p] == '^' {
		in = false
		p++
	}
	for ; p < end; p++ {
		switch {
		case m.pat[p] == '%':
			if p++; class(c, m.pat[p]) {
				return in
			}
		case p+2 < end && m.pat[p+1] == '-':
			if m.pat[p] <= c && c <= m.pat[p+2] {
				return in
			}
			p += 2
		case m.pat[p] == c:
			return in
		}
	}
	return !in
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// class reports whether c is in the class of that letter; capitals are the rest.
func class(c, letter byte) bool {
	var in bool
	switch letter | 0x20 {
	case 'a':
		in = isLower(c) || isUpper(c)
	case 'c':
		in = c < 0x20 || c == 0x7f
	case 'd':
		in = isDigit(c)
	case 'l':
		in = isLower(c)
	case 'p':
		in = c > 0x20 && c < 0x7f && !isLower(c) && !isUpper(c) && !isDigit(c)
	case 's':
		in = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		in = isUpper(c)
	case 'w':
		in = isLower(c) || isUpper(c) || isDigit(c)
	case 'x':
		in = isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return letter == c
	}
	if isLower(letter) {
		return in
	}
	if isUpper(letter) {
		return !in
	}
	return letter == c
}
