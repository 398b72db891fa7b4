package pcre

import (
	"fmt"
	"strings"
)

// Replacement is what a match is replaced by; immutable.
type Replacement struct {
	text  string
	parts []part
}

// part is a text and the capture after it; -1 for none.
type part struct {
	text    string
	capture int
}

// ParseReplacement reads $1, ${1} (captures, $0 the whole match) and $$ (a dollar).
func ParseReplacement(text string) (*Replacement, error) {
	r := &Replacement{text: text}
	var plain strings.Builder
	for s := text; s != ""; {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			plain.WriteString(s)
			break
		}
		plain.WriteString(s[:i])
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			plain.WriteByte('$')
			s = s[1:]
			continue
		}
		n, width := captureAt(s)
		if width == 0 {
			return nil, fmt.Errorf("failed to compile the replacement template \"%s\"", text)
		}
		r.parts = append(r.parts, part{plain.String(), n})
		plain.Reset()
		s = s[width:]
	}
	if plain.Len() > 0 {
		r.parts = append(r.parts, part{plain.String(), -1})
	}
	return r, nil
}

// captureAt reads "12" or "{12}" at the start of s: the number and how many
// bytes it took, 0 when there is none. No expression has a thousand captures.
func captureAt(s string) (n, width int) {
	open := strings.HasPrefix(s, "{")
	i := 0
	if open {
		i = 1
	}
	start := i
	for i < len(s) && i-start < 3 && '0' <= s[i] && s[i] <= '9' {
		n = n*10 + int(s[i]-'0')
		i++
	}
	if i == start {
		return 0, 0
	}
	if open {
		if i == len(s) || s[i] != '}' {
			return 0, 0
		}
		i++
	}
	return n, i
}

// Expand fills in captures; one that does not exist is empty.
func (r *Replacement) Expand(captures []string) string {
	var b strings.Builder
	for _, p := range r.parts {
		b.WriteString(p.text)
		if p.capture >= 0 && p.capture < len(captures) {
			b.WriteString(captures[p.capture])
		}
	}
	return b.String()
}
