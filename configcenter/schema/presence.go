package schema

import (
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// presence is the keyword under which the library finds those conditions of an
// object that look at nothing but which of its members are there. Documents of
// a kind have the same few sets of members over and over, and the library takes
// long for such conditions: its verdict is remembered by set.
const presence = "x-presence"

// maxPresenceNames bounds how many verdicts of one condition there can be.
const maxPresenceNames = 12

// conditions are the keywords that may be about presence alone.
var conditions = map[string]bool{"allOf": true, "anyOf": true, "oneOf": true, "not": true,
	"if": true, "then": true, "else": true, "required": true}

// splitPresence moves the conditions about presence alone out of a schema.
func splitPresence(o *object) *object {
	moved := &object{m: map[string]any{}}
	names := map[string]bool{}
	for _, k := range o.keys {
		switch k {
		case "allOf", "anyOf", "oneOf":
			if list, ok := o.m[k].([]any); ok && len(list) > 0 && onlyPresence(list, names) {
				moved.set(k, list)
			}
		case "not":
			if onlyPresence([]any{o.m[k]}, names) {
				moved.set(k, o.m[k])
			}
		}
	}
	if len(moved.keys) == 0 || len(names) > maxPresenceNames || len(names) == 0 {
		return o
	}
	rest := &object{m: map[string]any{}}
	for _, k := range o.keys {
		if _, ok := moved.m[k]; !ok {
			rest.set(k, o.m[k])
		}
	}
	moved.set(presence+"-names", list(names))
	rest.set(presence, moved)
	return rest
}

func list(names map[string]bool) []any {
	var out []any
	for n := range names {
		out = append(out, n)
	}
	return out
}

// onlyPresence reports whether well-formed schemas look at nothing but which
// members an object has, and gathers the names.
func onlyPresence(docs []any, names map[string]bool) bool {
	for _, d := range docs {
		o, ok := d.(*object)
		if !ok || len(o.keys) == 0 {
			return false
		}
		for _, k := range o.keys {
			if !conditions[k] || !onlyPresenceIn(k, o.m[k], names) {
				return false
			}
		}
	}
	return true
}

func onlyPresenceIn(keyword string, v any, names map[string]bool) bool {
	list, isList := v.([]any)
	if keyword != "required" {
		if !isList {
			return keyword != "allOf" && keyword != "anyOf" && keyword != "oneOf" && onlyPresence([]any{v}, names)
		}
		return len(list) > 0 && onlyPresence(list, names)
	}
	seen := map[string]bool{}
	for _, e := range list {
		name, ok := e.(string)
		if !ok || seen[name] {
			return false
		}
		seen[name], names[name] = true, true
	}
	return len(list) > 0
}

// presenceCompiler makes the library's extension for the keyword presence.
type presenceCompiler struct{}

func (presenceCompiler) Compile(ctx jsonschema.CompilerContext, m map[string]any) (jsonschema.ExtSchema, error) {
	doc, ok := m[presence].(map[string]any)
	if !ok {
		return nil, nil
	}
	s, err := ctx.Compile(presence, true)
	if err != nil {
		return nil, err
	}
	names, _ := doc[presence+"-names"].([]any)
	return &presenceSchema{schema: s, names: texts(names)}, nil
}

// presenceSchema remembers the library's verdict of each set of members.
type presenceSchema struct {
	schema   *jsonschema.Schema
	names    []string
	verdicts sync.Map // of a set, one bit per name: bool
}

func (p *presenceSchema) Validate(ctx jsonschema.ValidationContext, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return ctx.Validate(p.schema, presence, v, "")
	}
	var set uint64
	for i, name := range p.names {
		if _, ok := m[name]; ok {
			set |= 1 << i
		}
	}
	known, ok := p.verdicts.Load(set)
	if !ok {
		known = ctx.Validate(p.schema, presence, v, "") == nil
		p.verdicts.Store(set, known)
	}
	if known != true {
		return ctx.Error(presence, "conditions about members failed")
	}
	return nil
}
