// Package expr holds the conditions that routes, plugin filters and plugin rules
// are written in (the vars expressions of lua-resty-expr), and the regular
// expressions they and plugins use, which mean what they mean in PCRE.
//
// It does not know variables: the caller resolves a name to a function, once,
// when an expression is compiled.
package expr

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// Kind says what a Value holds.
type Kind uint8

const (
	None   Kind = iota // the variable is not there
	String             // Str
	List               // List
	Number             // Str is a number's text
	Bool               // Str is "true" or "false"
)

// Value is what a variable yields. It is passed by value; making one does not
// allocate.
type Value struct {
	Str  string
	List []string
	Kind Kind
}

// Text is a Value of kind String.
func Text(s string) Value { return Value{Str: s, Kind: String} }

// Program is a compiled expression over a context of type C. It is immutable.
type Program[C any] struct {
	rule *rule[C] // nil: always true
}

// Eval says whether the expression holds. It does not allocate, apart from what
// the caller's variables do, and regular expressions that need backtracking.
func (p *Program[C]) Eval(c C) bool {
	return p.rule == nil || p.rule.eval(c)
}

// rule is a condition, or several joined.
type rule[C any] struct {
	cond    *cond[C] // nil: the rest
	any     bool     // one of rules suffices
	negated bool
	rules   []rule[C]
}

func (r *rule[C]) eval(c C) bool {
	if r.cond != nil {
		return r.cond.holds(r.cond.get(c)) != r.cond.negated
	}
	for i := range r.rules {
		if r.rules[i].eval(c) == r.any {
			return r.any != r.negated
		}
	}
	return r.any == r.negated
}

// op is a comparison.
type op uint8

const (
	opEqual op = iota + 1
	opUnequal
	opGreater
	opGreaterEqual
	opLess
	opLessEqual
	opRegex
	opIn
	opHas
	opIP
)

// cond compares a variable with a configured value.
type cond[C any] struct {
	get     func(C) Value
	op      op
	negated bool
	want    want
}

// want is a configured value, ready for comparing.
type want struct {
	kind    Kind
	str     string // of String and Bool
	num     float64
	numeric bool // num is the value as a number

	regex   *Regex
	strs    []string
	set     map[string]struct{} // strs, when there are many
	nums    []float64
	bools   []string
	nets    *bart.Lite
	invalid bool // of a kind that equals nothing: a list or an object
}

// manyStrings is the length from which a list is looked up in a map.
const manyStrings = 9

// holds does the comparison; the conversions between numbers and strings are Lua's.
func (c *cond[C]) holds(v Value) bool {
	w := &c.want
	switch c.op {
	case opEqual:
		return w.equals(v)
	case opUnequal:
		return !w.equals(v)
	case opRegex:
		return w.regex != nil && v.Kind != None && v.Kind != List && w.regex.Match(v.Str)
	case opIn:
		return w.contains(v)
	case opHas:
		return v.Kind == List && w.kind == String && slices.Contains(v.List, w.str)
	case opIP:
		return v.Kind == String && w.hasAddr(v.Str)
	}
	if !w.numeric || v.Kind != String && v.Kind != Number {
		return false
	}
	n, ok := toNumber(v.Str)
	if !ok {
		return false
	}
	switch c.op {
	case opGreater:
		return n > w.num
	case opGreaterEqual:
		return n >= w.num
	case opLess:
		return n < w.num
	default:
		return n <= w.num
	}
}

func (w *want) equals(v Value) bool {
	switch {
	case w.invalid:
		return false
	case w.kind == Number:
		if v.Kind != String && v.Kind != Number {
			return false
		}
		n, ok := toNumber(v.Str)
		return ok && n == w.num
	}
	return w.kind == v.Kind && w.kind != List && w.str == v.Str
}

// contains says whether v is one of the list, without any conversion.
func (w *want) contains(v Value) bool {
	switch v.Kind {
	case String:
		if w.set != nil {
			_, ok := w.set[v.Str]
			return ok
		}
		return slices.Contains(w.strs, v.Str)
	case Number:
		n, ok := toNumber(v.Str)
		return ok && slices.Contains(w.nums, n)
	case Bool:
		return slices.Contains(w.bools, v.Str)
	}
	return false
}

func (w *want) hasAddr(s string) bool {
	a, ok := parseAddr(s)
	return ok && w.nets.Contains(a)
}

// parseAddr reads an address; one of IPv6 may be in brackets and has no zone.
func parseAddr(s string) (netip.Addr, bool) {
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' && strings.IndexByte(s, ':') > 0 {
		s = s[1 : n-1]
	}
	if strings.IndexByte(s, '%') >= 0 || s == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
