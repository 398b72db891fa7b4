package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// types is a set of JSON types; the empty set allows all.
type types uint8

const (
	typeString types = 1 << iota
	typeNumber
	typeInteger
	typeBoolean
	typeNull
	typeObject
	typeArray
)

var typeNames = map[string]types{
	"string": typeString, "number": typeNumber, "integer": typeInteger, "boolean": typeBoolean,
	"null": typeNull, "object": typeObject, "array": typeArray, "table": typeObject | typeArray,
}

// node is one compiled schema. The order of its lists is that of the text.
type node struct {
	never     bool // the schema false
	always    bool // the schema true
	types     types
	wrongType string // message up to the type that was found
	refs      bool   // a reference to a secret passes

	fills       bool // it or a schema below it has a default
	choiceFills bool // a schema for the same value does
	otherFills  bool // a schema for members that are not in props does

	object        bool // has a keyword about objects
	props         []prop
	names         map[string]bool // of props, for additional
	required      []string        // those that are not in props
	needs         []need          // dependencies of names that are not in props
	patterns      []patternProp
	additional    *node // nil: anything goes
	minProps      int   // -1: none, as for the other bounds
	maxProps      int
	emptyRequired bool

	array    bool // has a keyword about arrays
	items    *node
	tuple    []*node
	extra    *node // additionalItems
	minItems int
	maxItems int
	unique   bool
	contains *node

	minLength, maxLength int
	pattern              matcher
	patternText          string
	format               string
	formatOK             matcher

	bounds   []bound
	enum     []any
	constant *any

	allOf, anyOf, oneOf []*node
	anyOfText           string
	cond, then, els     *node
	not                 *node
	propertyNames       *node
}

// prop is one member of "properties".
type prop struct {
	name     string
	node     *node
	required bool
	def      any
	hasDef   bool
	need     *need
}

// need is one member of "dependencies": a list of names or a schema.
type need struct {
	name string
	list []string
	node *node
}

type patternProp struct {
	match matcher
	text  string
	node  *node
}

// bound is a check of a number; text is its message after the value.
type bound struct {
	ok   func(float64) bool
	text string
}

// builder compiles the schemas of one text.
type builder struct {
	root any
	done map[*object]*node // also those under way: references may go round
}

func (b *builder) build(doc any) (*node, error) {
	if v, ok := doc.(bool); ok {
		return &node{never: !v, always: v}, nil
	}
	o, ok := doc.(*object)
	if !ok {
		return nil, fmt.Errorf("a schema must be an object or a boolean, got %s", luaType(doc))
	}
	if n := b.done[o]; n != nil {
		return n, nil
	}
	if ref, ok := o.get("$ref").(string); ok {
		return b.follow(ref)
	}
	n := &node{minProps: -1, maxProps: -1, minItems: -1, maxItems: -1, minLength: -1, maxLength: -1}
	b.done[o] = n
	for _, step := range []func(*node, *object) error{
		b.buildType, b.buildObject, b.buildPatterns, b.buildArray, b.buildString, b.buildNumber, b.buildCompound,
	} {
		if err := step(n, o); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// maxRefs is how many references may follow each other.
const maxRefs = 100

// follow compiles what a reference refers to.
func (b *builder) follow(ref string) (*node, error) {
	for range maxRefs {
		target, err := b.resolve(ref)
		if err != nil {
			return nil, err
		}
		o, ok := target.(*object)
		if !ok {
			return b.build(target)
		}
		if ref, ok = o.get("$ref").(string); !ok {
			return b.build(target)
		}
	}
	return nil, fmt.Errorf("$ref %q: refers to itself without end", ref)
}

// resolve finds the place of a reference inside the text ("#/definitions/x").
func (b *builder) resolve(ref string) (any, error) {
	at, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil, fmt.Errorf("$ref %q: only references inside the schema are supported", ref)
	}
	v := b.root
	for _, part := range strings.Split(at, "/")[1:] {
		o, ok := v.(*object)
		if !ok {
			return nil, fmt.Errorf("$ref %q: no such place", ref)
		}
		v = o.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
	}
	return v, nil
}

func (b *builder) buildType(n *node, o *object) error {
	names := texts(o.get("type"))
	switch t := o.get("type").(type) {
	case nil:
		n.refs = true
	case string:
		n.refs = t == "string"
		n.wrongType = "wrong type: expected " + t + ", got "
		names = []string{t}
	default:
		n.wrongType = "wrong type: expected one of " + strings.Join(names, ", ") + ", got "
	}
	for _, name := range names {
		n.types |= typeNames[name]
	}
	return nil
}

func (b *builder) buildObject(n *node, o *object) error {
	required := texts(o.get("required"))
	props, _ := o.get("properties").(*object)
	deps, _ := o.get("dependencies").(*object)
	for _, key := range []string{"properties", "additionalProperties", "patternProperties",
		"minProperties", "maxProperties", "dependencies", "required"} {
		n.object = n.object || o.get(key) != nil
	}
	n.emptyRequired = o.get("required") != nil && len(required) == 0
	n.minProps, n.maxProps = count(o, "minProperties"), count(o, "maxProperties")
	n.names = map[string]bool{}
	isRequired := map[string]bool{}
	for _, name := range required {
		isRequired[name] = true
	}
	if props != nil {
		for _, name := range props.keys {
			p, err := b.buildProp(name, props.get(name), deps)
			if err != nil {
				return err
			}
			p.required = isRequired[name]
			delete(isRequired, name)
			n.props = append(n.props, p)
			n.names[name] = true
		}
	}
	for _, name := range required {
		if isRequired[name] {
			n.required = append(n.required, name)
		}
	}
	if deps == nil {
		return nil
	}
	for _, name := range deps.keys {
		if n.names[name] {
			continue
		}
		d, err := b.buildNeed(name, deps.get(name))
		if err != nil {
			return err
		}
		n.needs = append(n.needs, *d)
	}
	return nil
}

func (b *builder) buildProp(name string, doc any, deps *object) (prop, error) {
	sub, err := b.build(doc)
	if err != nil {
		return prop{}, fmt.Errorf("property %q: %w", name, err)
	}
	p := prop{name: name, node: sub}
	if o, ok := doc.(*object); ok {
		if p.def = plain(o.get("default")); p.def != nil {
			p.hasDef = true
		}
	}
	if d := deps.get(name); d != nil {
		p.need, err = b.buildNeed(name, d)
	}
	return p, err
}

func (b *builder) buildNeed(name string, doc any) (*need, error) {
	if list, ok := doc.([]any); ok {
		return &need{name: name, list: texts(list)}, nil
	}
	sub, err := b.build(doc)
	if err != nil {
		return nil, fmt.Errorf("dependency of %q: %w", name, err)
	}
	return &need{name: name, node: sub}, nil
}

func (b *builder) buildPatterns(n *node, o *object) error {
	if pats, ok := o.get("patternProperties").(*object); ok {
		for _, text := range pats.keys {
			m, err := compilePattern(text)
			if err != nil {
				return err
			}
			sub, err := b.build(pats.get(text))
			if err != nil {
				return fmt.Errorf("patternProperties %q: %w", text, err)
			}
			n.patterns = append(n.patterns, patternProp{match: m, text: text, node: sub})
		}
	}
	var err error
	if v := o.get("additionalProperties"); v != nil && v != true {
		n.additional, err = b.build(v)
	}
	if v := o.get("propertyNames"); v != nil && err == nil {
		n.propertyNames, err = b.build(v)
	}
	return err
}

func (b *builder) buildArray(n *node, o *object) error {
	n.minItems, n.maxItems = count(o, "minItems"), count(o, "maxItems")
	n.unique = o.get("uniqueItems") == true
	items := o.get("items")
	n.array = items != nil || n.minItems >= 0 || n.maxItems >= 0 || n.unique
	var err error
	if list, ok := items.([]any); ok {
		if n.tuple, err = b.list("items", list); err != nil {
			return err
		}
		if v := o.get("additionalItems"); v != nil && v != true {
			n.extra, err = b.build(v)
		}
	} else if items != nil && items != true {
		n.items, err = b.build(items)
	}
	if err == nil && o.get("contains") != nil {
		n.contains, err = b.build(o.get("contains"))
	}
	return err
}

func (b *builder) buildString(n *node, o *object) error {
	n.minLength, n.maxLength = count(o, "minLength"), count(o, "maxLength")
	if text, ok := o.get("pattern").(string); ok {
		m, err := compilePattern(text)
		if err != nil {
			return err
		}
		n.pattern, n.patternText = m, luaQuote(text)
	}
	if name, ok := o.get("format").(string); ok {
		n.format, n.formatOK = name, formats[name]
	}
	return nil
}

func (b *builder) buildCompound(n *node, o *object) (err error) {
	if list, ok := o.get("enum").([]any); ok {
		n.enum = plain(list).([]any)
	}
	if v, ok := o.m["const"]; ok {
		c := plain(v)
		n.constant = &c
	}
	for _, k := range []struct {
		name string
		to   *[]*node
	}{{"allOf", &n.allOf}, {"anyOf", &n.anyOf}, {"oneOf", &n.oneOf}} {
		list, _ := o.get(k.name).([]any)
		if *k.to, err = b.list(k.name, list); err != nil {
			return err
		}
	}
	n.anyOfText = anyOfText(o)
	for _, k := range []struct {
		name string
		to   **node
	}{{"if", &n.cond}, {"then", &n.then}, {"else", &n.els}, {"not", &n.not}} {
		if v := o.get(k.name); v != nil {
			if *k.to, err = b.build(v); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	return nil
}

func (b *builder) list(name string, docs []any) ([]*node, error) {
	var out []*node
	for i, d := range docs {
		n, err := b.build(d)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", name, i+1, err)
		}
		out = append(out, n)
	}
	return out, nil
}

// anyOfText is the message of a failed anyOf: it lists what its choices require.
func anyOfText(o *object) string {
	list, _ := o.get("anyOf").([]any)
	var req []string
	for _, v := range list {
		sub, _ := v.(*object)
		if r := texts(sub.get("required")); len(r) > 0 {
			t, err := json.Marshal(r)
			if err == nil {
				req = append(req, string(t))
			}
		}
	}
	text := "object matches none of the required"
	if len(req) > 0 {
		text += ": " + strings.Join(req, " or ")
	}
	return text
}

// count reads a keyword that is a number of things; -1 if it is not there.
func count(o *object, key string) int {
	if f, ok := number(o.get(key)); ok {
		return int(f)
	}
	return -1
}
