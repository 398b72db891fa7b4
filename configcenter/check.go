package configcenter

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// compiled are the schemas of all kinds by name, compiled on first use.
var compiled = sync.OnceValue(func() map[string]*schema.Schema {
	m := map[string]*schema.Schema{}
	for _, info := range resource.Kinds {
		m[string(info.Kind)] = mustCompile(info.Singular, info.Schema)
		for variant, text := range info.Variants {
			m[string(info.Kind)+"/"+variant] = mustCompile(info.Singular+" "+variant, text)
		}
	}
	return m
})

// mustCompile panics on a schema that does not compile: they are part of the
// program.
func mustCompile(name, text string) *schema.Schema {
	s, err := schema.Compile(name, text)
	if err != nil {
		panic(err)
	}
	return s
}

// SchemaOf returns the compiled schema of a kind; nil if there is no such kind.
// Of a secret the id says which manager's ("vault/1"); a manager that does not
// exist has no schema.
func SchemaOf(k resource.Kind, id string) *schema.Schema {
	if k == resource.Secrets && id != "" {
		manager, _, _ := strings.Cut(id, "/")
		return compiled()[string(k)+"/"+manager]
	}
	return compiled()[string(k)]
}

// decode makes the typed object of a stored text: checked, with its defaults.
func decode(c Change) (any, error) {
	s := SchemaOf(c.Kind, c.ID)
	if s == nil {
		return nil, fmt.Errorf("no schema for %s", Path(c.Kind, c.ID))
	}
	doc, err := schema.Decode(c.Value)
	if err != nil {
		return nil, fmt.Errorf("invalid item data of [%s], %w", Path(c.Kind, c.ID), err)
	}
	defer func() { schema.Recycle(doc) }()
	switch doc.(type) {
	case map[string]any, []any:
	default:
		return nil, fmt.Errorf("invalid item data of [%s], val: %s, it should be an object", Path(c.Kind, c.ID), short(c.Value))
	}
	if doc, err = s.Apply(doc); err != nil {
		return nil, fmt.Errorf("failed to check item data of [%s] err:%w", Path(c.Kind, c.ID), err)
	}
	const defaults = 256 // bytes that the defaults of most objects need at most
	filled, err := schema.Append(make([]byte, 0, len(c.Value)+defaults), doc)
	if err != nil {
		return nil, err
	}
	return resource.Decode(c.Kind, c.ID, filled)
}

// short cuts a value down to what fits in a message.
func short(v json.RawMessage) string {
	const most = 64
	if len(v) > most {
		return string(v[:most]) + "..."
	}
	return string(v)
}
