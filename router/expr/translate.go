package expr

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// translator turns a PCRE pattern into one pattern for each engine, in which
// nothing is left on which the engines and PCRE differ: classes and shorthands
// become explicit sets, escapes become characters, and all modes except the
// folding of case are resolved.
type translator struct {
	src  string
	pos  int
	utf  bool
	mode // now

	anchored  bool // flag a
	dollarEnd bool // flag D

	linear, back output
	backtracks   bool // linear is of no use
	newline      bool // see Regex.newline
	names        []string

	open []group // groups around pos
	last mark    // where the last atom begins
	can  bool    // there is an atom to repeat
	rep  bool    // and it is repeated already
}

// mode is what an option setting inside the pattern can change.
type mode struct {
	fold, multiline, dotAll, extended, lazy bool
}

type output []byte

func (o output) String() string { return string(o) }

// mark is a place in both outputs.
type mark struct{ linear, back int }

// group is an open parenthesis.
type group struct {
	at   mark
	mode mode // to go back to
}

var (
	errEscapeEnd = errors.New(`\ at end of pattern`)
	errRepeat    = errors.New("quantifier does not follow a repeatable item")
	errParens    = errors.New("unmatched parentheses")
	errOpen      = errors.New("missing )")
)

func (t *translator) translate() error {
	t.names = []string{""}
	if !utf8.ValidString(t.src) && t.utf {
		return errors.New("pattern is not UTF-8")
	}
	for _, verb := range []string{"(*UTF8)", "(*UTF)", "(*UCP)"} {
		t.pos += len(t.src[t.pos:]) - len(strings.TrimPrefix(t.src[t.pos:], verb))
	}
	if t.anchored {
		t.both(`\A(?:`)
	}
	if t.fold {
		t.both("(?i)")
	}
	for t.pos < len(t.src) {
		if err := t.next(); err != nil {
			return err
		}
	}
	if len(t.open) > 0 {
		return errOpen
	}
	if t.anchored {
		t.both(")")
	}
	return nil
}

func (t *translator) both(s string) {
	t.linear = append(t.linear, s...)
	t.back = append(t.back, s...)
}

func (t *translator) here() mark { return mark{len(t.linear), len(t.back)} }

// atom writes something that can be repeated.
func (t *translator) atom(linear, back string) {
	t.last, t.can, t.rep = t.here(), true, false
	t.linear = append(t.linear, linear...)
	t.back = append(t.back, back...)
}

// only writes an atom that needs the backtracking engine.
func (t *translator) only(back string) {
	t.backtracks = true
	t.atom("", back)
}

// take consumes s if it is next.
func (t *translator) take(s string) bool {
	if strings.HasPrefix(t.src[t.pos:], s) {
		t.pos += len(s)
		return true
	}
	return false
}

// char consumes one character: a byte, or in UTF mode a rune.
func (t *translator) char() rune {
	if !t.utf {
		t.pos++
		return rune(t.src[t.pos-1])
	}
	r, n := utf8.DecodeRuneInString(t.src[t.pos:])
	t.pos += n
	return r
}

func (t *translator) next() error {
	switch c := t.src[t.pos]; c {
	case '\\':
		return t.escape()
	case '[':
		return t.class()
	case '(':
		return t.group()
	case ')':
		return t.closeGroup()
	case '|':
		t.pos++
		t.both("|")
		t.can = false
	case '^':
		t.pos++
		if t.multiline {
			t.newline = true // not after a final newline either
			t.atom("(?m:^)", `(?:\A|(?<=\n)(?!\z))`)
		} else {
			t.atom(`\A`, `\A`)
		}
	case '$':
		t.pos++
		t.end()
	case '.':
		t.pos++
		if t.dotAll {
			t.atom("(?s:.)", "(?s:.)")
		} else {
			t.atom(`[^\n]`, `[^\n]`)
		}
	case '*', '+', '?':
		t.pos++
		return t.repeat(string(c))
	case '{':
		if q := quantifier(t.src[t.pos:]); q != "" {
			t.pos += len(q)
			return t.repeat(q)
		}
		t.pos++
		t.literal('{')
	default:
		if t.extended && t.skipSpace() {
			return nil
		}
		t.literal(t.char())
	}
	return nil
}

// skipSpace skips a space, or a comment, of an extended pattern.
func (t *translator) skipSpace() bool {
	switch t.src[t.pos] {
	case ' ', '\t', '\n', '\v', '\f', '\r':
		t.pos++
		return true
	case '#':
		if i := strings.IndexByte(t.src[t.pos:], '\n'); i >= 0 {
			t.pos += i + 1
		} else {
			t.pos = len(t.src)
		}
		return true
	}
	return false
}

// end writes a dollar.
func (t *translator) end() {
	switch {
	case t.multiline:
		t.atom("(?m:$)", "(?m:$)")
	case t.dollarEnd:
		t.atom(`\z`, `\z`)
	default:
		t.newline = true
		t.atom(`\z`, `(?=\n?\z)`)
	}
}

// literal writes one character.
func (t *translator) literal(r rune) {
	s := quoteRune(r)
	if t.fold && !t.utf && r >= utf8.RuneSelf {
		s = "(?-i:" + s + ")" // only ASCII letters have two cases
	}
	t.atom(s, s)
}

// quoteRune is a character as both engines read it, also inside a class.
func quoteRune(r rune) string {
	switch {
	case r >= utf8.RuneSelf:
		return string(r)
	case isWord(byte(r)):
		return string(r)
	}
	return fmt.Sprintf(`\x%02x`, r)
}

// quantifier returns {n}, {n,} or {n,m} at the start of s, or "".
func quantifier(s string) string {
	i := 1
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i == 1 {
		return ""
	}
	if i < len(s) && s[i] == ',' {
		for i++; i < len(s) && isDigit(s[i]); i++ {
		}
	}
	if i >= len(s) || s[i] != '}' || i > 12 {
		return ""
	}
	return s[:i+1]
}

// repeat writes a quantifier with what follows it: "?" for lazy, "+" for possessive.
func (t *translator) repeat(q string) error {
	if !t.can {
		return errRepeat
	}
	if t.rep {
		t.wrap("(?:")
	}
	if bytes.Contains(t.back[t.last.back:], []byte("(?>")) {
		// The engine would fold a repeated atomic group into a plain loop, were
		// there not something else in it.
		t.back = append(append(t.back[:t.last.back:t.last.back], "(?:"...), t.back[t.last.back:]...)
		t.back = append(t.back, `\z?)`...)
	}
	lazy := t.lazy
	possessive := false
	if t.take("?") {
		lazy = !lazy
	} else if t.take("+") {
		possessive, lazy = true, false
	}
	if lazy {
		q += "?"
	}
	t.both(q)
	t.rep = true
	if possessive {
		t.backtracks = true
		t.wrap("(?>")
	}
	return nil
}

// wrap puts the last atom into a group.
func (t *translator) wrap(open string) {
	t.linear = append(t.linear[:t.last.linear:t.last.linear], open+string(t.linear[t.last.linear:])+")"...)
	t.back = append(t.back[:t.last.back:t.last.back], open+string(t.back[t.last.back:])+")"...)
}

// number reads decimal digits.
func (t *translator) number() (int, bool) {
	i := t.pos
	for i < len(t.src) && isDigit(t.src[i]) {
		i++
	}
	n, err := strconv.Atoi(t.src[t.pos:i])
	if err != nil {
		return 0, false
	}
	t.pos = i
	return n, true
}

// until consumes up to and including end, and returns what is before it.
func (t *translator) until(end string) (string, error) {
	i := strings.Index(t.src[t.pos:], end)
	if i < 0 {
		return "", fmt.Errorf("missing %q", end)
	}
	s := t.src[t.pos : t.pos+i]
	t.pos += i + len(end)
	return s, nil
}
