package redirect

import "sluice/plugins"

// location is an address with variables in it: $name and ${name}. A "$"
// behind a backslash stands for itself, with the backslash; other backslashes
// are dropped.
type location []segment

// segment is a variable, or literal text when get is nil.
type segment struct {
	text string
	get  plugins.Appender
}

func parseLocation(s string) location {
	var l location
	for s != "" {
		n := 1
		switch {
		case s[0] == '\\' && len(s) > 2 && s[1] == '$' && word(s[2:]) > 0:
			n = 2 + word(s[2:])
			l = append(l, segment{text: s[:n]})
		case s[0] == '\\':
		case s[0] != '$':
			for n < len(s) && s[n] != '$' && s[n] != '\\' {
				n++
			}
			l = append(l, segment{text: s[:n]})
		default:
			name := ""
			if name, n = reference(s); name == "" {
				l = append(l, segment{text: s[:n]})
			} else {
				l = append(l, segment{get: plugins.VariableAppender(name)})
			}
		}
		s = s[n:]
	}
	return l
}

// reference reads the variable that s begins with, and how long that is; no
// name when the "$" is only that.
func reference(s string) (name string, n int) {
	if n := word(s[1:]); n > 0 {
		return s[1 : 1+n], 1 + n
	}
	if len(s) > 1 && s[1] == '{' {
		if n := word(s[2:]); n > 0 && len(s) > 2+n && s[2+n] == '}' {
			return s[2 : 2+n], 3 + n
		}
	}
	return "", 1
}

// word is how many letters, digits and underscores s begins with.
func word(s string) int {
	for i := range len(s) {
		x := s[i]
		if x != '_' && (x < '0' || x > '9') && (x|0x20 < 'a' || x|0x20 > 'z') {
			return i
		}
	}
	return len(s)
}

func (l location) append(b []byte, c *plugins.Ctx) []byte {
	for i := range l {
		if l[i].get == nil {
			b = append(b, l[i].text...)
		} else {
			b, _ = l[i].get(c, b)
		}
	}
	return b
}
