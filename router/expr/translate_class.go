package expr

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is a range of characters, both ends included.
type span struct{ lo, hi rune }

var (
	digitSpans = []span{{'0', '9'}}
	wordSpans  = []span{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}
	spaceSpans = []span{{'\t', '\r'}, {' ', ' '}}
	horizSpans = []span{{'\t', '\t'}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x180e, 0x180e},
		{0x2000, 0x200a}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}}
	vertSpans = []span{{'\n', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}}
)

// posixSpans are the named classes inside brackets.
var posixSpans = map[string][]span{
	"alnum": {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, "alpha": {{'A', 'Z'}, {'a', 'z'}},
	"ascii": {{0, 0x7f}}, "blank": {{'\t', '\t'}, {' ', ' '}}, "cntrl": {{0, 0x1f}, {0x7f, 0x7f}},
	"digit": digitSpans, "graph": {{'!', '~'}}, "lower": {{'a', 'z'}}, "print": {{' ', '~'}},
	"punct": {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}, "space": spaceSpans,
	"upper": {{'A', 'Z'}}, "word": wordSpans, "xdigit": {{'0', '9'}, {'A', 'F'}, {'a', 'f'}},
}

// shorthand returns the set of \d, \W and the like.
func (t *translator) shorthand(c byte) ([]span, bool) {
	var set []span
	switch c | 0x20 {
	case 'd':
		set = digitSpans
	case 'w':
		set = wordSpans
	case 's':
		set = spaceSpans
	case 'h':
		set = horizSpans
	case 'v':
		set = vertSpans
	default:
		return nil, false
	}
	if c < 'a' {
		set = complement(set)
	}
	return set, true
}

// maxRune is the last character of Unicode.
const maxRune = 0x10ffff

// complement is all that is not in set, which is sorted.
func complement(set []span) []span {
	var out []span
	next := rune(0)
	for _, s := range set {
		if s.lo > next {
			out = append(out, span{next, s.lo - 1})
		}
		next = s.hi + 1
	}
	if next <= maxRune {
		out = append(out, span{next, maxRune})
	}
	return out
}

// writeSet is a class of set as both engines read it.
func writeSet(set []span, negated bool) string {
	var b strings.Builder
	b.WriteByte('[')
	if negated {
		b.WriteByte('^')
	}
	for _, s := range set {
		b.WriteString(quoteRune(s.lo))
		if s.hi > s.lo {
			b.WriteByte('-')
			b.WriteString(quoteRune(s.hi))
		}
	}
	b.WriteByte(']')
	return b.String()
}

// class reads a class in brackets.
func (t *translator) class() error {
	t.pos++
	negated := t.take("^")
	var set []span
	extra := "" // properties, which go through as they are
	for first := true; ; first = false {
		if t.pos >= len(t.src) {
			return errors.New("missing ] of a character class")
		}
		if !first && t.take("]") {
			break
		}
		m, err := t.member()
		if err != nil {
			return err
		}
		extra += m.property
		if len(m.set) > 0 || m.property != "" || m.nothing {
			set = append(set, m.set...)
			continue
		}
		hi, err := t.rangeEnd(m.char)
		if err != nil {
			return err
		}
		set = append(set, span{m.char, hi})
	}
	slices.SortFunc(set, func(a, b span) int { return int(a.lo - b.lo) })
	s := writeSet(set, negated)
	s = s[:len(s)-1] + extra + "]"
	t.atom(s, s)
	return nil
}

// rangeEnd reads the end of a range that begins with lo; lo itself when the next
// is no range.
func (t *translator) rangeEnd(lo rune) (rune, error) {
	rest := t.src[t.pos:]
	if len(rest) < 2 || rest[0] != '-' || rest[1] == ']' {
		return lo, nil
	}
	before := t.pos
	t.pos++
	m, err := t.member()
	if err != nil {
		return 0, err
	}
	if len(m.set) > 0 || m.property != "" || m.nothing {
		t.pos = before // the minus is a character
		return lo, nil
	}
	if m.char < lo {
		return 0, errors.New("range out of order in character class")
	}
	return m.char, nil
}

// member is one thing in a class: a character, a set, or a property.
type member struct {
	char     rune
	set      []span
	property string
	nothing  bool
}

func (t *translator) member() (member, error) {
	if t.take("[:") {
		if name, _, ok := strings.Cut(t.src[t.pos:], ":]"); ok {
			base, negated := strings.CutPrefix(name, "^")
			if set, ok := posixSpans[base]; ok {
				t.pos += len(name) + 2
				if negated {
					set = complement(set)
				}
				return member{set: set}, nil
			}
			if isName(base) {
				return member{}, fmt.Errorf("unknown POSIX class name %q", name)
			}
		}
		t.pos--
		return member{char: '['}, nil
	}
	if t.src[t.pos] != '\\' {
		return member{char: t.char()}, nil
	}
	t.pos++
	if t.pos >= len(t.src) {
		return member{}, errEscapeEnd
	}
	c := t.src[t.pos]
	if set, ok := t.shorthand(c); ok {
		t.pos++
		return member{set: set}, nil
	}
	switch c {
	case 'b':
		t.pos++
		return member{char: '\b'}, nil
	case 'E', 'Q':
		t.pos++
		return member{nothing: true}, nil
	case 'p', 'P':
		s, err := t.property()
		return member{property: s}, err
	case '1', '2', '3', '4', '5', '6', '7':
		return member{char: t.octal()}, nil
	}
	r, err := t.escaped()
	return member{char: r}, err
}

// octal reads up to three octal digits.
func (t *translator) octal() rune {
	n := rune(0)
	for i := 0; i < 3 && t.pos < len(t.src) && t.src[t.pos] >= '0' && t.src[t.pos] <= '7'; i++ {
		n = n*8 + rune(t.src[t.pos]-'0')
		t.pos++
	}
	return t.clamp(n)
}

// clamp cuts a character down to a byte where characters are bytes.
func (t *translator) clamp(n rune) rune {
	if !t.utf {
		return n & 0xff
	}
	return n
}

// hex reads what follows \x.
func (t *translator) hex() (rune, error) {
	if t.take("{") {
		s, err := t.until("}")
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(s, 16, 32)
		if err != nil || n > maxRune || !t.utf && n > 0xff {
			return 0, fmt.Errorf(`character \x{%s} is out of range`, s)
		}
		return rune(n), nil
	}
	n := rune(0)
	for i := 0; i < 2 && t.pos < len(t.src); i++ {
		d, ok := hexDigit(t.src[t.pos])
		if !ok {
			break
		}
		n = n*16 + rune(d)
		t.pos++
	}
	return n, nil
}
