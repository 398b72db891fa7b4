package lib

import (
	"crypto/rand"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// Multipart is a body of several named parts.
type Multipart struct {
	boundary string
	parts    []part
}

type part struct {
	name    string
	headers []string
	value   string
}

// DecodeMultipart reads a body; one whose content type names no boundary, or
// that does not have it, has no parts.
func DecodeMultipart(body, contentType string) *Multipart {
	m := &Multipart{boundary: boundary(contentType)}
	if m.boundary == "" {
		return m
	}
	delimiter := "--" + m.boundary
	start := -1 // of the part under way
	for at := 0; at < len(body); {
		end := lineEnd(body, at)
		if strings.HasPrefix(body[at:], delimiter) {
			if start >= 0 {
				m.take(withoutBreak(body[start:at]))
			}
			if start = end; strings.HasPrefix(body[at+len(delimiter):], "--") {
				return m
			}
		}
		at = end
	}
	if start >= 0 {
		m.take(body[start:])
	}
	return m
}

// boundary is that of a content type, or "".
func boundary(contentType string) string {
	_, params, _ := strings.Cut(contentType, ";")
	for params != "" {
		var one string
		one, params, _ = strings.Cut(params, ";")
		if text, ok := strings.CutPrefix(strings.TrimSpace(one), "boundary="); ok {
			text, _, _ = strings.Cut(text, " ")
			return strings.Trim(text, `"'`)
		}
	}
	return ""
}

// lineEnd is where the line after the one at at begins.
func lineEnd(s string, at int) int {
	if i := strings.IndexByte(s[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(s)
}

func withoutBreak(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r") }

// take adds the part that text is, if it has a name.
func (m *Multipart) take(text string) {
	var p part
	named := false
	for text != "" {
		end := lineEnd(text, 0)
		line := withoutBreak(text[:end])
		text = text[end:]
		if line == "" {
			break
		}
		p.headers = append(p.headers, line)
		if field, params, _ := strings.Cut(line, ";"); len(field) >= 19 && strings.EqualFold(field[:19], "content-disposition") {
			p.name, named = partName(params)
		}
	}
	if p.value = text; named {
		m.parts = append(m.parts, p)
	}
}

func partName(params string) (string, bool) {
	for params != "" {
		var one string
		one, params, _ = strings.Cut(params, ";")
		if key, text, ok := strings.Cut(one, "="); ok && strings.EqualFold(strings.TrimSpace(key), "name") {
			return strings.Trim(strings.TrimSpace(text), `"'`), true
		}
	}
	return "", false
}

// values are those of the parts called name.
func (m *Multipart) values(name string) *lua.LTable {
	t := value.Table()
	for _, p := range m.parts {
		if p.name == name {
			t.Append(lua.LString(p.value))
		}
	}
	return t
}

// All is a table of the values by name; those that come again are arrays.
func (m *Multipart) All() *lua.LTable {
	return m.each(func(all *lua.LTable) lua.LValue {
		if all.Len() == 1 {
			return all.RawGetInt(1)
		}
		return all
	})
}

// each is a table of what f makes of the values of each name.
func (m *Multipart) each(f func(*lua.LTable) lua.LValue) *lua.LTable {
	t := value.Table()
	for _, p := range m.parts {
		if t.RawGetString(p.name) == lua.LNil {
			t.RawSetString(p.name, f(m.values(p.name)))
		}
	}
	return t
}

// withHeaders are the parts called name, each with its value and its headers.
func (m *Multipart) withHeaders(name string) *lua.LTable {
	t := value.Table()
	for _, p := range m.parts {
		if p.name != name {
			continue
		}
		headers := value.Table()
		for _, h := range p.headers {
			key, text, _ := strings.Cut(h, ":")
			headers.RawSetString(strings.ToLower(strings.TrimSpace(key)), lua.LString(strings.TrimSpace(text)))
		}
		one := value.Table()
		one.RawSetString("value", lua.LString(p.value))
		one.RawSetString("headers", headers)
		t.Append(one)
	}
	return t
}

// set gives the first part called name a new value, or adds one.
func (m *Multipart) set(name, text, filename, contentType string) {
	h := `Content-Disposition: form-data; name="` + name + `"`
	if filename != "" {
		h += `; filename="` + filename + `"`
	}
	if contentType != "" {
		h += "\r\ncontent-type: " + contentType
	}
	p := part{name, []string{h}, text}
	if i := slices.IndexFunc(m.parts, func(p part) bool { return p.name == name }); i >= 0 {
		m.parts[i] = p
		return
	}
	m.parts = append(m.parts, p)
}

// String is the body.
func (m *Multipart) String() string {
	if len(m.parts) == 0 {
		return ""
	}
	if m.boundary == "" {
		m.boundary = rand.Text()
	}
	var b strings.Builder
	for _, p := range m.parts {
		b.WriteString("--" + m.boundary + "\r\n")
		for _, h := range p.headers {
			b.WriteString(h + "\r\n")
		}
		b.WriteString("\r\n" + p.value + "\r\n")
	}
	b.WriteString("--" + m.boundary + "--\r\n")
	return b.String()
}

// Object is the body as programs see it: a table with methods.
func (m *Multipart) Object(l *lua.LState) *lua.LTable {
	push := func(f func(l *lua.LState) lua.LValue) lua.LGFunction {
		return func(l *lua.LState) int { l.Push(f(l)); return 1 }
	}
	return Table(l, map[string]lua.LGFunction{
		"get": push(func(l *lua.LState) lua.LValue {
			name := l.CheckString(2)
			for _, p := range m.parts {
				if p.name == name {
					return p.object()
				}
			}
			return lua.LNil
		}),
		"get_all": push(func(*lua.LState) lua.LValue {
			return m.each(func(all *lua.LTable) lua.LValue { return all.RawGetInt(1) })
		}),
		"get_as_array":              push(func(l *lua.LState) lua.LValue { return m.values(l.CheckString(2)) }),
		"get_all_as_arrays":         push(func(*lua.LState) lua.LValue { return m.each(func(all *lua.LTable) lua.LValue { return all }) }),
		"get_all_with_arrays":       push(func(*lua.LState) lua.LValue { return m.All() }),
		"get_with_headers_as_array": push(func(l *lua.LState) lua.LValue { return m.withHeaders(l.CheckString(2)) }),
		"get_all_include_headers_with_arrays": push(func(*lua.LState) lua.LValue {
			t := value.Table()
			for _, p := range m.parts {
				t.RawSetString(p.name, m.withHeaders(p.name))
			}
			return t
		}),
		"set_simple": func(l *lua.LState) int {
			m.set(l.CheckString(2), l.CheckString(3), l.OptString(4, ""), l.OptString(5, ""))
			return 0
		},
		"delete": func(l *lua.LState) int {
			name := l.CheckString(2)
			m.parts = slices.DeleteFunc(m.parts, func(p part) bool { return p.name == name })
			return 0
		},
		"tostring": push(func(*lua.LState) lua.LValue { return lua.LString(m.String()) }),
	})
}

func (p part) object() *lua.LTable {
	headers := value.Table()
	for _, h := range p.headers {
		headers.Append(lua.LString(h))
	}
	t := value.Table()
	t.RawSetString("name", lua.LString(p.name))
	t.RawSetString("headers", headers)
	t.RawSetString("value", lua.LString(p.value))
	return t
}
