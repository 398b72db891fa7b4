package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// group opens a parenthesis of any kind.
func (t *translator) group() error {
	t.pos++
	switch {
	case t.take("*"):
		return fmt.Errorf("verb (*%.10s is not supported", t.src[t.pos:])
	case !t.take("?"):
		t.names = append(t.names, "")
		t.push("(", "(")
		return nil
	case t.take("#"):
		_, err := t.until(")")
		return err
	case t.take(":"):
		t.push("(?:", "(?:")
		return nil
	case t.take("|"):
		return fmt.Errorf("branch reset (?| is not supported")
	}
	for _, s := range [...]string{"=", "!", "<=", "<!", ">"} {
		if t.take(s) {
			t.backtracks = true
			t.push("(?:", "(?"+s)
			return nil
		}
	}
	switch {
	case t.take("P="):
		name, err := t.until(")")
		if err != nil {
			return err
		}
		return t.reference(name)
	case t.take("P<"), t.take("<"):
		return t.named(">")
	case t.take("'"):
		return t.named("'")
	case t.take("("):
		cond, err := t.until(")")
		if err != nil {
			return err
		}
		n, err := t.groupNumber(strings.Trim(cond, "<>'"))
		if err != nil {
			return err
		}
		t.backtracks = true
		t.push("(?:", "(?("+n+")")
		return nil
	}
	return t.options()
}

// push writes the opening of a group.
func (t *translator) push(linear, back string) {
	t.open = append(t.open, group{t.here(), t.mode})
	t.linear = append(t.linear, linear...)
	t.back = append(t.back, back...)
	t.can = false
}

func (t *translator) closeGroup() error {
	if len(t.open) == 0 {
		return errParens
	}
	t.pos++
	g := t.open[len(t.open)-1]
	t.open = t.open[:len(t.open)-1]
	t.mode = g.mode
	t.both(")")
	t.last, t.can, t.rep = g.at, true, false
	return nil
}

// named opens a capturing group with a name.
func (t *translator) named(end string) error {
	name, err := t.until(end)
	if err != nil {
		return err
	}
	if !isName(name) {
		return fmt.Errorf("group name %q is invalid", name)
	}
	t.names = append(t.names, name)
	t.push("(", "(") // the engines need not know the names
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !isWord(s[i]) {
			return false
		}
	}
	return s != "" && !isDigit(s[0])
}

// options reads (?ims-x) and (?ims-x: after the question mark.
func (t *translator) options() error {
	m := t.mode
	on := true
	for t.pos < len(t.src) {
		c := t.src[t.pos]
		t.pos++
		switch c {
		case '-':
			on = false
		case 'i':
			m.fold = on
		case 'm':
			m.multiline = on
		case 's':
			m.dotAll = on
		case 'x':
			m.extended = on
		case 'U':
			m.lazy = on
		case 'J':
		case ')':
			t.mode = m
			t.both(foldOption(m.fold, ")"))
			t.can = false
			return nil
		case ':':
			t.push(foldOption(m.fold, ":"), foldOption(m.fold, ":"))
			t.mode = m
			return nil
		default:
			return fmt.Errorf("group (?%c is not supported", c)
		}
	}
	return errOpen
}

func foldOption(on bool, end string) string {
	if on {
		return "(?i" + end
	}
	return "(?-i" + end
}

// reference writes a back reference to a group by number or name.
func (t *translator) reference(name string) error {
	n, err := t.groupNumber(name)
	if err == nil {
		t.only(`\k<` + n + `>`)
	}
	return err
}

// groupNumber is the number of a group that is given by number, or by the name
// of one that is open or closed already.
func (t *translator) groupNumber(name string) (string, error) {
	if name != "" && isInteger(name) && isDigit(name[0]) {
		return name, nil
	}
	if i := slices.Index(t.names, name); i > 0 {
		return strconv.Itoa(i), nil
	}
	return "", fmt.Errorf("reference to group %q is invalid", name)
}
