package requestvalidation

import (
	"strings"

	"sluice/plugins"
)

// fieldNames adds the names that a schema of headers mentions and that are not
// in lower case.
func fieldNames(doc any, names []string) []string {
	add := func(name string) {
		if strings.ToLower(name) != name {
			names = append(names, name)
		}
	}
	switch d := doc.(type) {
	case map[string]any:
		properties, _ := d["properties"].(map[string]any)
		for name := range properties {
			add(name)
		}
		required, _ := d["required"].([]any)
		for _, name := range required {
			if s, ok := name.(string); ok {
				add(s)
			}
		}
		for _, inner := range d {
			names = fieldNames(inner, names)
		}
	case []any:
		for _, inner := range d {
			names = fieldNames(inner, names)
		}
	}
	return names
}

// fields is the request's header as a document: names in lower case, and also
// as the schema writes them. A repeated field is a list.
func (v *validation) fields(c *plugins.Ctx) map[string]any {
	h := &c.Req.Header
	doc := make(map[string]any, h.Len()+1+len(v.names))
	doc["host"] = c.Req.Host
	for name, value := range h.All() {
		put(doc, strings.ToLower(name), value)
	}
	for _, name := range v.names {
		if value, ok := doc[strings.ToLower(name)]; ok {
			doc[name] = value
		}
	}
	return doc
}

func put(doc map[string]any, name string, value any) {
	switch old := doc[name].(type) {
	case nil:
		doc[name] = value
	case []any:
		doc[name] = append(old, value)
	default:
		doc[name] = []any{old, value}
	}
}

// decodeForm reads a form as a document: texts, true for a name without "=",
// lists for repeated names.
func decodeForm(body string) map[string]any {
	doc := map[string]any{}
	for body != "" {
		var pair string
		pair, body, _ = strings.Cut(body, "&")
		name, value, has := strings.Cut(pair, "=")
		if name = unescape(name); name == "" {
			continue
		}
		if has {
			put(doc, name, unescape(value))
		} else {
			put(doc, name, true)
		}
	}
	return doc
}

// unescape decodes "+" and %XX; what is no escape stays.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && digit(s[i+1]) >= 0 && digit(s[i+2]) >= 0:
			b = append(b, byte(digit(s[i+1])<<4|digit(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func digit(x byte) int {
	switch {
	case '0' <= x && x <= '9':
		return int(x - '0')
	case 'a' <= x|0x20 && x|0x20 <= 'f':
		return int(x|0x20-'a') + 10
	}
	return -1
}
