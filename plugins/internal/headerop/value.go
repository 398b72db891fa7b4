package headerop

import (
	"strings"

	"sluice/plugins"
)

// value is a text with captures ($1, ${1}) and variables in it. What a capture
// or variable holds is never looked through for further ones.
type value struct {
	fixed string // the whole value, when parts is nil
	parts []part
	// captures says that some part is one.
	captures bool
}

// part is a capture, or a template when tmpl is set.
type part struct {
	tmpl    *plugins.Template
	capture int
}

func parseValue(text string) (*value, error) {
	if !strings.Contains(text, "$") {
		return &value{fixed: string(appendValue(nil, text))}, nil
	}
	v := &value{}
	plain := func(s string) error {
		if s == "" {
			return nil
		}
		t, err := plugins.ParseTemplate(s)
		v.parts = append(v.parts, part{tmpl: t})
		return err
	}
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i > 0 && text[i-1] == '\\' {
			continue
		}
		n, width := captureAt(text[i+1:])
		if width == 0 {
			continue
		}
		if err := plain(text[start:i]); err != nil {
			return nil, err
		}
		v.parts = append(v.parts, part{capture: n})
		v.captures = true
		i += width
		start = i + 1
	}
	return v, plain(text[start:])
}

// captureAt reads "12" or "{12}": its number and how many bytes it has, 0 for none.
func captureAt(s string) (n, width int) {
	i := 0
	if strings.HasPrefix(s, "{") {
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
	if start == 1 {
		if i == len(s) || s[i] != '}' {
			return 0, 0
		}
		i++
	}
	return n, i
}

func (v *value) render(c *plugins.Ctx, captures []string) string {
	if v.parts == nil {
		return v.fixed
	}
	b := c.Scratch()
	for i := range v.parts {
		p := &v.parts[i]
		if p.tmpl != nil {
			b, _ = p.tmpl.Append(c, b)
		} else if p.capture < len(captures) {
			b = append(b, captures[p.capture]...)
		}
	}
	if clean(b) {
		return c.Keep(b)
	}
	return string(appendValue(nil, string(b)))
}

func clean(b []byte) bool {
	for _, x := range b {
		if x < ' ' && x != '\t' || x == 0x7f {
			return false
		}
	}
	return true
}

// appendValue writes a value with the control characters escaped that could end it.
func appendValue(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if x := s[i]; x < ' ' && x != '\t' || x == 0x7f {
			b = append(b, '%', digits[x>>4], digits[x&15])
		} else {
			b = append(b, x)
		}
	}
	return b
}
