package expr

import (
	"fmt"
	"strconv"
	"strings"
)

// Word boundaries for the backtracking engine, whose own are Unicode's.
const (
	boundary    = `(?:(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z]))`
	notBoundary = `(?:(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z]))`
)

// escape reads a backslash outside of a class.
func (t *translator) escape() error {
	t.pos++
	if t.pos >= len(t.src) {
		return errEscapeEnd
	}
	c := t.src[t.pos]
	if set, ok := t.shorthand(c); ok {
		t.pos++
		s := writeSet(set, false)
		t.atom(s, s)
		return nil
	}
	if c >= '1' && c <= '9' {
		return t.numbered()
	}
	switch c {
	case 'b':
		t.pos++
		t.atom(`\b`, boundary)
	case 'B':
		t.pos++
		t.atom(`\B`, notBoundary)
	case 'A', 'z':
		t.pos++
		t.atom(`\`+string(rune(c)), `\`+string(rune(c)))
	case 'Z':
		t.pos++
		t.newline = true
		t.atom(`\z`, `(?=\n?\z)`)
	case 'G':
		t.pos++
		t.only(`\G`)
	case 'N':
		t.pos++
		t.atom(`[^\n]`, `[^\n]`)
	case 'R':
		t.pos++
		s := `(?:\x0d\x0a|` + writeSet(vertSpans, false) + `)`
		t.atom(s, s)
	case 'Q':
		t.pos++
		t.quoted()
	case 'E':
		t.pos++
	case 'p', 'P':
		s, err := t.property()
		t.atom(s, s)
		return err
	case 'g', 'k':
		t.pos++
		return t.namedReference(c)
	case 'K', 'X', 'C':
		return fmt.Errorf(`\%c is not supported`, c)
	default:
		r, err := t.escaped()
		t.literal(r)
		return err
	}
	return nil
}

// quoted reads the literal text of \Q…\E.
func (t *translator) quoted() {
	end := len(t.src)
	if i := strings.Index(t.src[t.pos:], `\E`); i >= 0 {
		end = t.pos + i
	}
	for t.pos < end {
		t.literal(t.char())
	}
	t.take(`\E`)
}

// numbered reads \1 and on: a back reference, or a character in octal when there
// are not so many groups.
func (t *translator) numbered() error {
	before := t.pos
	n, ok := t.number()
	if ok && (n < 10 || n < len(t.names)) {
		t.only(`\k<` + strconv.Itoa(n) + `>`)
		return nil
	}
	t.pos = before
	if t.src[t.pos] >= '8' {
		t.literal(t.char())
		return nil
	}
	t.literal(t.octal())
	return nil
}

// namedReference reads what follows \g or \k.
func (t *translator) namedReference(c byte) error {
	end := ""
	switch {
	case t.take("{"):
		end = "}"
	case c == 'k' && t.take("<"):
		end = ">"
	case c == 'k' && t.take("'"):
		end = "'"
	case c == 'g':
		if n, ok := t.number(); ok {
			return t.reference(strconv.Itoa(n))
		}
		return fmt.Errorf(`\g at %d is not supported`, t.pos)
	default:
		return fmt.Errorf(`\%c is not followed by a name`, c)
	}
	name, err := t.until(end)
	if err != nil {
		return err
	}
	if back, relative := strings.CutPrefix(name, "-"); relative {
		n, err := strconv.Atoi(back)
		if err != nil || n < 1 || n >= len(t.names) {
			return fmt.Errorf("reference to group %q is invalid", name)
		}
		name = strconv.Itoa(len(t.names) - n)
	}
	return t.reference(name)
}

// property reads \p{…} and \pL, and returns it as both engines read it.
func (t *translator) property() (string, error) {
	negated := t.src[t.pos] == 'P'
	t.pos++
	if t.pos >= len(t.src) {
		return "", errEscapeEnd
	}
	name := t.src[t.pos : t.pos+1]
	t.pos++
	if name == "{" {
		var err error
		if name, err = t.until("}"); err != nil {
			return "", err
		}
	}
	if rest, ok := strings.CutPrefix(name, "^"); ok {
		name, negated = rest, !negated
	}
	if !isName(name) {
		return "", fmt.Errorf("character property %q is unknown", name)
	}
	if negated {
		return `\P{` + name + `}`, nil
	}
	return `\p{` + name + `}`, nil
}

// escaped reads the character that an escape stands for; a letter without a
// meaning stands for itself.
func (t *translator) escaped() (rune, error) {
	c := t.src[t.pos]
	switch c {
	case '0':
		return t.octal(), nil
	case 'x':
		t.pos++
		return t.hex()
	case 'c':
		t.pos++
		if t.pos >= len(t.src) {
			return 0, fmt.Errorf(`\c at end of pattern`)
		}
		c = t.src[t.pos]
		t.pos++
		if c >= 'a' && c <= 'z' {
			c -= 0x20
		}
		return rune(c ^ 0x40), nil
	case 'a':
		t.pos++
		return 7, nil
	case 'e':
		t.pos++
		return 0x1b, nil
	case 'f':
		t.pos++
		return '\f', nil
	case 'n':
		t.pos++
		return '\n', nil
	case 'r':
		t.pos++
		return '\r', nil
	case 't':
		t.pos++
		return '\t', nil
	}
	return t.char(), nil
}
