package expr

import (
	"fmt"
	"math"
	"strings"
)

// Template is the replacement text of a Regex: $1 and ${1} stand for groups by
// number, $name and ${name} by name, $0 for the match, $$ for a dollar.
type Template struct {
	regex *Regex
	parts []templatePart
}

// templatePart is literal text, or a group when text is empty.
type templatePart struct {
	text  string
	group int
}

// Template compiles a replacement text for r. A group that r does not have by
// number is empty; by name it is an error.
func (r *Regex) Template(text string) (*Template, error) {
	t := &Template{regex: r}
	for rest := text; rest != ""; {
		i := strings.IndexByte(rest, '$')
		if i < 0 {
			t.literal(rest)
			break
		}
		t.literal(rest[:i])
		rest = rest[i+1:]
		if strings.HasPrefix(rest, "$") {
			t.literal("$")
			rest = rest[1:]
			continue
		}
		name, after, ok := variable(rest)
		if !ok {
			return nil, fmt.Errorf("invalid capturing variable name found in %q", text)
		}
		group, ok := r.group(name)
		if !ok {
			return nil, fmt.Errorf("attempt to use unknown capturing group %q in %q", name, text)
		}
		t.parts = append(t.parts, templatePart{group: group})
		rest = after
	}
	return t, nil
}

func (t *Template) literal(text string) {
	if text != "" {
		t.parts = append(t.parts, templatePart{text: text})
	}
}

// variable reads what follows a dollar: a number, a word, or either in braces.
func variable(s string) (name, rest string, ok bool) {
	if inner, braced := strings.CutPrefix(s, "{"); braced {
		name, rest, ok = strings.Cut(inner, "}")
		return name, rest, ok && name != ""
	}
	n := 0
	for n < len(s) && (isDigit(s[n]) || n > 0 && !isDigit(s[0]) && isWord(s[n]) || n == 0 && isWord(s[n])) {
		n++
	}
	return s[:n], s[n:], n > 0
}

// group is the number of a group by number or name; -1 for one that is not there.
func (r *Regex) group(name string) (int, bool) {
	if isDigit(name[0]) {
		n := 0
		for i := range len(name) {
			if !isDigit(name[i]) {
				return 0, false
			}
			n = min(n*10+int(name[i]-'0'), len(r.names))
		}
		if n >= len(r.names) {
			n = -1
		}
		return n, true
	}
	for i, s := range r.names {
		if s == name {
			return i, true
		}
	}
	return 0, false
}

// Replace replaces the first match in s, and says whether there was one.
func (t *Template) Replace(s string) (string, bool) {
	m := t.regex.FindSubmatchIndex(s)
	if m == nil {
		return s, false
	}
	return t.replace(s, [][]int{m}), true
}

// ReplaceAll replaces every match in s, and returns how many there were.
func (t *Template) ReplaceAll(s string) (string, int) {
	all := t.regex.FindAllSubmatchIndex(s, -1)
	if len(all) == 0 {
		return s, 0
	}
	return t.replace(s, all), len(all)
}

func (t *Template) replace(s string, all [][]int) string {
	var b []byte
	end := 0
	for _, m := range all {
		b = t.Append(append(b, s[end:m[0]]...), s, m, math.MaxInt)
		end = m[1]
	}
	return string(append(b, s[end:]...))
}

// Append appends what stands in for the match m in s. It stops when b has become
// longer than limit bytes.
func (t *Template) Append(b []byte, s string, m []int, limit int) []byte {
	for _, p := range t.parts {
		switch {
		case len(b) > limit:
			return b
		case p.text != "":
			b = append(b, p.text...)
		case p.group >= 0 && m[2*p.group] >= 0:
			b = append(b, s[m[2*p.group]:m[2*p.group+1]]...)
		}
	}
	return b
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z'
}
