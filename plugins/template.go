package plugins

import (
	"strings"
)

// Template is a text with variables in it: $name, ${name} or
// ${name ?? default}. A "$" behind a backslash stands for itself, and the
// backslash stays. Immutable, made once when a version is compiled.
type Template struct {
	parts []part
	vars  int
}

// part is a variable, or literal text when get is nil.
type part struct {
	text  string // literal, or the default
	get   Getter
	app   Appender
	deflt bool // text is a default
}

// ParseTemplate compiles s. What does not look like a variable is text, so
// every string is a template; an error is a post_arg path that is no JSONPath.
func ParseTemplate(s string) (*Template, error) {
	t := &Template{}
	lit := 0
	for i := 0; i < len(s); {
		if s[i] != '$' || i > 0 && s[i-1] == '\\' {
			i++
			continue
		}
		ref, end := reference(s, i+1)
		if end < 0 {
			i++
			continue
		}
		if i > lit {
			t.parts = append(t.parts, part{text: s[lit:i]})
		}
		p, err := variablePart(ref)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		t.vars++
		i, lit = end, end
	}
	if lit < len(s) {
		t.parts = append(t.parts, part{text: s[lit:]})
	}
	return t, nil
}

// reference reads what follows a "$" at i: the text of the variable and where
// it ends, or -1 when that is no variable.
func reference(s string, i int) (ref string, end int) {
	if i < len(s) && s[i] == '{' {
		n := strings.IndexByte(s[i:], '}')
		if n < 0 {
			return "", -1
		}
		if ref = strings.TrimSpace(s[i+1 : i+n]); n > 1 {
			return ref, i + n + 1
		}
		return "", -1
	}
	end = i
	for end < len(s) && (isWord(s[end]) || s[end] == '.') {
		end++
	}
	if end == i {
		return "", -1
	}
	return s[i:end], end
}

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

func variablePart(ref string) (part, error) {
	name, deflt, has := strings.Cut(ref, "??")
	name = strings.TrimSpace(name)
	if err := CheckVariable(name); err != nil {
		return part{}, err
	}
	p := part{get: Variable(name), app: VariableAppender(name)}
	if has {
		deflt, _, _ = strings.Cut(deflt, "??")
		p.text = strings.TrimSpace(deflt)
		p.deflt = p.text != ""
	}
	return p, nil
}

// HasVars reports whether the text has variables at all.
func (t *Template) HasVars() bool { return t.vars > 0 }

// Render fills the template in; a variable without value or default is empty.
func (t *Template) Render(c *Ctx) string {
	s, _ := t.RenderCount(c)
	return s
}

// RenderCount is Render that tells how many variables had a value or a default.
func (t *Template) RenderCount(c *Ctx) (s string, resolved int) {
	switch {
	case len(t.parts) == 0:
		return "", 0
	case len(t.parts) == 1:
		return t.parts[0].value(c)
	}
	b, resolved := t.Append(c, c.memo.scratch2[:0])
	c.memo.scratch2 = b[:0]
	return string(b), resolved
}

// RenderEscaped is RenderCount with each value passed through escape.
func (t *Template) RenderEscaped(c *Ctx, escape func(string) string) (s string, resolved int) {
	var b strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		v, n := p.value(c)
		if n > 0 {
			v = escape(v)
		}
		b.WriteString(v)
		resolved += n
	}
	return b.String(), resolved
}

// Append is RenderCount without making a string.
func (t *Template) Append(c *Ctx, dst []byte) (b []byte, resolved int) {
	for i := range t.parts {
		p := &t.parts[i]
		if p.app == nil {
			dst = append(dst, p.text...)
			continue
		}
		var ok bool
		if dst, ok = p.app(c, dst); ok {
			resolved++
		} else if p.deflt {
			dst = append(dst, p.text...)
			resolved++
		}
	}
	return dst, resolved
}

// value is the text of one part and how many variables were resolved for it.
func (p *part) value(c *Ctx) (string, int) {
	if p.get == nil {
		return p.text, 0
	}
	if v, ok := p.get(c); ok {
		return v, 1
	}
	if p.deflt {
		return p.text, 1
	}
	return "", 0
}
