package schema

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// library is what the package jsonschema makes of one schema.
type library struct {
	schema *jsonschema.Schema
	// lax: the schema has a keyword that the library cannot read, so what it
	// accepts is still to be judged.
	lax bool
}

// newLibrary lets the library judge the schema against draft 7's own schema,
// follow its references and compile it.
func newLibrary(doc any) (*library, error) {
	if l, err := (&portable{split: true}).compile(doc); err == nil {
		return l, nil
	}
	// A reference may lead to what was split off.
	return (&portable{}).compile(doc)
}

func (p *portable) compile(doc any) (*library, error) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft7
	c.RegisterExtension(presence, nil, presenceCompiler{})
	c.Formats = map[string]func(any) bool{}
	for name := range jsonschema.Formats {
		c.Formats[name] = func(any) bool { return true } // what APISIX does not judge
	}
	for name, ok := range formats {
		c.Formats[name] = ofStrings(ok)
	}
	p.formats = c.Formats
	text, err := appendValue(nil, p.schema(doc))
	if err != nil {
		return nil, err
	}
	const at = "mem:///schema.json"
	if err := c.AddResource(at, strings.NewReader(string(text))); err != nil {
		return nil, err
	}
	s, err := c.Compile(at)
	if err != nil {
		return nil, err
	}
	return &library{schema: s, lax: p.lax}, nil
}

func ofStrings(ok matcher) func(any) bool {
	return func(v any) bool {
		s, is := v.(string)
		return !is || ok(s)
	}
}

// portable rewrites a schema for the library: a pattern that its engine does
// not know becomes a format, which calls the engine that does; draft 4's
// boolean bounds become draft 7's. A pattern among the names of
// patternProperties has no such way out: it is left out, which makes the
// library's judgement lax, never stricter.
type portable struct {
	split   bool // conditions about presence are split off
	formats map[string]func(any) bool
	lax     bool
}

func (p *portable) schema(doc any) any {
	o, ok := doc.(*object)
	if !ok {
		return doc
	}
	if p.split {
		o = merged(splitPresence(o))
	}
	out := &object{m: map[string]any{}}
	for _, k := range o.keys {
		v := o.m[k]
		switch k {
		case "enum", "const", "required", "$ref", presence:
			out.set(k, v)
		case "default", "examples": // values, of which the library has no need
		case "properties", "definitions", "$defs", "dependencies":
			out.set(k, p.members(v))
		case "patternProperties":
			out.set(k, p.patterned(v))
		case "exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "pattern":
		default:
			out.set(k, p.any(v))
		}
	}
	p.bound(o, out, "minimum", "exclusiveMinimum")
	p.bound(o, out, "maximum", "exclusiveMaximum")
	p.pattern(o, out)
	return out
}

// any rewrites a schema or a list of schemas; other values stay as they are.
func (p *portable) any(v any) any {
	list, ok := v.([]any)
	if !ok {
		return p.schema(v)
	}
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = p.schema(e)
	}
	return out
}

// members rewrites the members of an object that holds schemas by name.
func (p *portable) members(v any) any {
	o, ok := v.(*object)
	if !ok {
		return v
	}
	out := &object{m: map[string]any{}}
	for _, k := range o.keys {
		out.set(k, p.any(o.m[k]))
	}
	return out
}

func (p *portable) patterned(v any) any {
	o, ok := v.(*object)
	if !ok {
		return v
	}
	known := &object{m: map[string]any{}}
	for _, k := range o.keys {
		if _, err := regexp.Compile(k); err != nil {
			p.lax = true
			known.set(regexp.QuoteMeta(k), true) // its names still count as known
			continue
		}
		known.set(k, p.schema(o.m[k]))
	}
	return known
}

// bound joins a bound with its boolean companion of draft 4.
func (p *portable) bound(o, out *object, limit, exclusive string) {
	v, hasLimit := o.m[limit]
	e, hasExclusive := o.m[exclusive]
	_, isBool := e.(bool)
	switch {
	case isBool && e == true:
		if !hasLimit {
			v = json.Number("0") // as APISIX's validator reads it
		}
		out.set(exclusive, v)
		return
	case hasExclusive && !isBool:
		out.set(exclusive, e)
	}
	if hasLimit {
		out.set(limit, v)
	}
}

func (p *portable) pattern(o, out *object) {
	v, has := o.m["pattern"]
	text, isText := v.(string)
	if !has {
		return
	}
	if _, err := regexp.Compile(text); err == nil || !isText {
		out.set("pattern", v)
		return
	}
	match, err := compilePattern(text)
	if err != nil {
		out.set("pattern", v) // the library says what is wrong with it
		return
	}
	name := "pattern:" + text
	p.formats[name] = ofStrings(match)
	all, _ := out.m["allOf"].([]any)
	judge := &object{m: map[string]any{}}
	judge.set("format", name)
	out.set("allOf", append(slices.Clone(all), judge))
}
