package plugins

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sluice/configcenter/schema"
	"sluice/gateway/redact"
)

// Part is which of a plugin's schemas a configuration is held against.
type Part uint8

// The parts.
const (
	Conf         Part = iota // on routes, services, plugin configs, groups, global rules
	ConsumerPart             // on consumers and credentials; Conf for plugins without one
	MetadataPart
)

// Catalog is the set of enabled plugins with their schemas compiled. Immutable.
type Catalog struct {
	entries map[string]*entry
	names   []string
}

type entry struct {
	spec                 *Spec
	conf, consumer, meta *schema.Schema
}

// metaSchema is the schema of _meta, which every plugin's schema gets.
const metaSchema = `{"type":"object","additionalProperties":false,"properties":{
"disable":{"type":"boolean"},
"error_response":{"oneOf":[{"type":"string"},{"type":"object"}]},
"priority":{"type":"integer","description":"priority of plugins by customized order"},
"filter":{"type":"array","description":"filter determines whether the plugin needs to be executed at runtime"},
"pre_function":{"type":"string","description":"function to be executed in each phase before execution of plugins. The pre_function will have access to two arguments: ` + "`conf` and `ctx`" + `."}}}`

// ownMeta are the members of _meta that APISIX does not have. They are checked,
// but do not show in the schemas: who compares those with APISIX's finds them equal.
const ownMeta = `,"fail_mode":{}}}`

// NewCatalog compiles the schemas of those plugins of reg that enabled names.
// Names that reg lacks come back in missing.
func NewCatalog(reg Registry, enabled []string) (c *Catalog, missing []string, err error) {
	c = &Catalog{entries: map[string]*entry{}}
	for _, name := range enabled {
		spec := reg[name]
		if spec == nil {
			missing = append(missing, name)
			continue
		}
		if c.entries[name] != nil {
			continue
		}
		if c.entries[name], err = newEntry(spec); err != nil {
			return nil, nil, err
		}
		c.names = append(c.names, name)
	}
	slices.SortStableFunc(c.names, func(a, b string) int { return reg[b].Priority - reg[a].Priority })
	return c, missing, nil
}

func newEntry(s *Spec) (*entry, error) {
	e := &entry{spec: s}
	for _, part := range []struct {
		name, text string
		inject     bool
		to         **schema.Schema
	}{
		{"schema", s.Schema, true, &e.conf},
		{"consumer", s.Consumer, true, &e.consumer},
		{"metadata", s.Metadata, false, &e.meta},
	} {
		if part.text == "" {
			continue
		}
		var err error
		if *part.to, err = compilePart(s.Name+"/"+part.name, part.text, part.inject); err != nil {
			return nil, fmt.Errorf("plugin %s: %s: %w", s.Name, part.name, err)
		}
	}
	return e, nil
}

func compilePart(name, text string, inject bool) (*schema.Schema, error) {
	if !inject {
		return schema.Compile(name, text)
	}
	checked, err := injectMeta(text, strings.TrimSuffix(metaSchema, "}}")+ownMeta)
	if err != nil {
		return nil, err
	}
	shown, err := injectMeta(text, metaSchema)
	if err != nil {
		return nil, err
	}
	s, err := schema.Compile(name, checked)
	if err != nil {
		return nil, err
	}
	return s.ShownAs(shown), nil
}

func injectMeta(text, meta string) (string, error) {
	var doc, props map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	if p := doc["properties"]; p != nil {
		if err := json.Unmarshal(p, &props); err != nil {
			return "", err
		}
	}
	if props == nil {
		props = map[string]json.RawMessage{}
	}
	props["_meta"] = json.RawMessage(meta)
	b, err := json.Marshal(props)
	if err != nil {
		return "", err
	}
	doc["properties"] = b
	doc["$comment"] = json.RawMessage(`"this is a mark for our injected plugin schema"`)
	b, err = json.Marshal(doc)
	return string(b), err
}

// Names are the plugins, highest priority first.
func (c *Catalog) Names() []string { return c.names }

// Spec returns the plugin called name.
func (c *Catalog) Spec(name string) (*Spec, bool) {
	e, ok := c.entries[name]
	if !ok {
		return nil, false
	}
	return e.spec, true
}

// Schema returns the compiled schema of a part, or nil when the plugin has none.
func (c *Catalog) Schema(name string, p Part) *schema.Schema {
	e := c.entries[name]
	if e == nil {
		return nil
	}
	switch {
	case p == MetadataPart:
		return e.meta
	case p == ConsumerPart && e.consumer != nil:
		return e.consumer
	}
	return e.conf
}

// Secrets are the texts in conf that the schema of the part wants encrypted.
func (c *Catalog) Secrets(name string, p Part, conf json.RawMessage) []string {
	s := c.Schema(name, p)
	if s == nil {
		return nil
	}
	return redact.Strings(conf, s.EncryptFields())
}

// UnknownError names a plugin that is not enabled or does not exist.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return "unknown plugin [" + e.Name + "]" }

// Check holds conf against the schema of the part and returns it with its
// defaults filled in. The errors are worded as APISIX words them.
func (c *Catalog) Check(name string, conf json.RawMessage, p Part) (json.RawMessage, error) {
	if c.entries[name] == nil {
		return nil, &UnknownError{name}
	}
	if t := strings.TrimSpace(string(conf)); p != MetadataPart && (t == "" || t[0] != '{' && t != "[]") {
		return nil, fmt.Errorf("invalid plugin conf %s for plugin [%s]", luaText(conf), name)
	}
	if emptyArray(conf) {
		conf = json.RawMessage("{}")
	}
	s := c.Schema(name, p)
	if s == nil {
		return conf, nil
	}
	filled, err := s.Check(conf)
	if err = redact.Conf(conf, s.EncryptFields()).Error(err); err != nil {
		return nil, fmt.Errorf("failed to check the configuration of plugin %s err: %w", name, err)
	}
	return filled, nil
}

// emptyArray reports whether conf is what Lua makes of an empty table that may
// have been meant as an object.
func emptyArray(conf json.RawMessage) bool { return strings.TrimSpace(string(conf)) == "[]" }

// luaText is how APISIX prints a configuration that is no object: a string
// without its quotes.
func luaText(conf json.RawMessage) string {
	var s string
	if json.Unmarshal(conf, &s) == nil {
		return s
	}
	return string(conf)
}
