package requestvalidation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"sluice/plugins"
)

// decode reads one JSON value. Of two members of one name the last counts.
func decode(text []byte) (doc any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more behind the value")
	}
	return doc, nil
}

// luaTypes are what "type" may say beside the types of JSON: table is either
// an object or a list, and no JSON is a function.
var luaTypes = map[string]any{
	"table": []any{"object", "array"}, "function": []any{},
	"string": nil, "number": nil, "integer": nil, "boolean": nil, "null": nil, "object": nil, "array": nil,
}

// adapt checks a schema that somebody wrote, in the words of APISIX, and
// replaces what only APISIX understands. It reports whether there was such a thing.
func adapt(doc any) (changed bool, err error) {
	switch d := doc.(type) {
	case map[string]any:
		for _, key := range [...]string{"enum", "required"} {
			if v, ok := d[key].(string); ok {
				return false, fmt.Errorf("bad argument #1 to 'ipairs' (table expected, got string): %s %q", key, v)
			}
		}
		if name, ok := d["type"].(string); ok {
			stands, known := luaTypes[name]
			switch list, _ := stands.([]any); {
			case !known:
				return false, fmt.Errorf("invalid JSON type: %s", name)
			case stands != nil && len(list) == 0:
				delete(d, "type")
				d["not"] = map[string]any{}
				changed = true
			case stands != nil:
				d["type"] = stands
				changed = true
			}
		}
		for key, inner := range d {
			if key == "enum" || key == "const" || key == "default" {
				continue
			}
			c, err := adapt(inner)
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
	case []any:
		for _, inner := range d {
			c, err := adapt(inner)
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
	}
	return changed, nil
}

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
		if name = plugins.Unescape(name); name == "" {
			continue
		}
		if has {
			put(doc, name, plugins.Unescape(value))
		} else {
			put(doc, name, true)
		}
	}
	return doc
}
