package conf

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindMap
)

// luaType is what error texts call a kind: APISIX's words.
func (k kind) luaType() string {
	return [...]string{"nil", "boolean", "number", "string", "table", "table"}[k]
}

// node is one value of the file, with its place for error texts.
type node struct {
	kind kind
	text string // of a scalar
	file string
	line int
	keys []string // of a map, in order
	vals map[string]*node
	list []*node
}

// at walks down maps; nil when a step is missing.
func (n *node) at(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		n = n.vals[key]
	}
	return n
}

func (n *node) set(key string, v *node) {
	if n.vals == nil {
		n.vals = map[string]*node{}
	}
	if _, ok := n.vals[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.vals[key] = v
}

// errorf makes an error that names the place of n.
func (n *node) errorf(format string, args ...any) error {
	if n.file == "" {
		return fmt.Errorf(format, args...)
	}
	return fmt.Errorf("%s:%d: %w", n.file, n.line, fmt.Errorf(format, args...))
}

// show is the value for an error text; long ones are cut.
func (n *node) show() string {
	switch n.kind {
	case kindString:
		if len(n.text) > 80 {
			return strconv.Quote(n.text[:80]) + "…"
		}
		return strconv.Quote(n.text)
	case kindList:
		return "a list"
	case kindMap:
		return "a map"
	case kindNull:
		return "null"
	}
	return n.text
}

// json is the value as JSON, for sections whose members belong to others.
func (n *node) json() json.RawMessage {
	b, err := json.Marshal(n.value())
	if err != nil { // only .inf and .nan, which have no JSON form
		return json.RawMessage("null")
	}
	return b
}

func (n *node) value() any {
	switch n.kind {
	case kindBool:
		return n.text == "true"
	case kindNumber:
		if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
			return i
		}
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			return n.text
		}
		return f
	case kindString:
		return n.text
	case kindList:
		l := make([]any, len(n.list))
		for i, v := range n.list {
			l[i] = v.value()
		}
		return l
	case kindMap:
		m := make(map[string]any, len(n.keys))
		for k, v := range n.vals {
			m[k] = v.value()
		}
		return m
	}
	return nil
}

// Bounds of a file. Aliases can make a small text a huge tree.
const (
	maxNodes = 200_000
	maxDepth = 64
)

type treeBuilder struct {
	file  string
	env   func(string) (string, bool) // nil: no substitution
	nodes int
}

// parseTree reads text; ${{NAME}} is replaced from env. An empty document is null.
func parseTree(file string, text []byte, env func(string) (string, bool)) (*node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: invalid config.yaml file: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return &node{file: file}, nil
	}
	b := &treeBuilder{file: file, env: env}
	n, err := b.build(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	if n.kind != kindMap && n.kind != kindNull {
		return nil, n.errorf("invalid config.yaml file: a map is wanted, not %s", n.show())
	}
	return n, nil
}

func (b *treeBuilder) build(y *yaml.Node, depth int) (*node, error) {
	n := &node{file: b.file, line: y.Line}
	b.nodes++
	if b.nodes > maxNodes || depth > maxDepth {
		return nil, n.errorf("more than %d values or %d levels", maxNodes, maxDepth)
	}
	switch y.Kind {
	case yaml.AliasNode:
		return b.build(y.Alias, depth+1)
	case yaml.SequenceNode:
		n.kind = kindList
		for _, c := range y.Content {
			v, err := b.build(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, v)
		}
		return n, nil
	case yaml.MappingNode:
		n.kind = kindMap
		return n, b.fill(n, y, depth)
	}
	return n, b.scalar(n, y)
}

// fill builds the members of a map; "<<" takes over those of another map.
func (b *treeBuilder) fill(n *node, y *yaml.Node, depth int) error {
	for i := 0; i+1 < len(y.Content); i += 2 {
		v, err := b.build(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		k := y.Content[i]
		if k.Tag == "!!merge" {
			for _, key := range v.keys {
				if n.vals[key] == nil {
					n.set(key, v.vals[key])
				}
			}
			continue
		}
		key, _, err := b.substitute(k.Value)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", b.file, k.Line, err)
		}
		if old := n.vals[key]; old != nil && !merged(y, old) {
			return v.errorf("key %q was already given in line %d", key, old.line)
		}
		n.set(key, v)
	}
	return nil
}

// merged says whether old came in by "<<": then a key of the map itself wins.
func merged(y *yaml.Node, old *node) bool {
	for i := 0; i+1 < len(y.Content); i += 2 {
		if y.Content[i].Tag == "!!merge" && y.Content[i+1].Kind == yaml.AliasNode {
			from := y.Content[i+1].Alias
			for j := 1; j < len(from.Content); j += 2 {
				if from.Content[j].Line == old.line {
					return true
				}
			}
		}
	}
	return false
}

func (b *treeBuilder) scalar(n *node, y *yaml.Node) error {
	text, used, err := b.substitute(y.Value)
	if err != nil {
		return n.errorf("%w", err)
	}
	n.text = text
	switch y.ShortTag() {
	case "!!null":
		n.kind = kindNull
	case "!!bool":
		n.kind, n.text = kindBool, strings.ToLower(text)
	case "!!int", "!!float":
		n.kind = kindNumber
	default:
		n.kind = kindString
	}
	if used {
		n.kind = kindOf(text)
	}
	return nil
}

// kindOf is the type of a text after substitution, quoted or not: that is how
// APISIX lets a variable give a port.
func kindOf(text string) kind {
	if text == "true" || text == "false" {
		return kindBool
	}
	if _, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil {
		return kindNumber
	}
	return kindString
}

var variable = regexp.MustCompile(`\$\{\{\s*(\w+)(?::=(.*?))?\s*\}\}`)

// substitute replaces every ${{NAME}} and ${{NAME:=default}} of s; used says
// whether there was one.
func (b *treeBuilder) substitute(s string) (out string, used bool, err error) {
	if b.env == nil || !strings.Contains(s, "${{") {
		return s, false, nil
	}
	out = variable.ReplaceAllStringFunc(s, func(m string) string {
		used = true
		g := variable.FindStringSubmatch(m)
		if v, ok := b.env(g[1]); ok {
			return v
		}
		if strings.Contains(m, ":=") {
			return strings.TrimSpace(g[2])
		}
		err = fmt.Errorf("failed to handle configuration: can't find environment variable %s", g[1])
		return ""
	})
	return out, used, err
}

// merge puts user over base: maps member by member, lists whole; null deletes;
// an empty map replaces, as an empty list does.
func merge(base, user *node, path string) error {
	for _, key := range user.keys {
		v, at := user.vals[key], key
		if path != "" {
			at = path + "->" + key
		}
		old := base.vals[key]
		switch {
		case v.kind == kindNull:
			delete(base.vals, key)
		case v.kind == kindList, v.kind == kindMap && len(v.keys) == 0:
			base.set(key, v)
		case v.kind == kindMap:
			if old == nil || old.kind == kindList {
				old = &node{kind: kindMap, file: v.file, line: v.line}
				base.set(key, old)
			} else if old.kind != kindMap {
				return clash(at, old, v)
			}
			if err := merge(old, v, at); err != nil {
				return err
			}
		default:
			if old != nil && old.kind.luaType() != v.kind.luaType() && !mayClash(at, v.kind) {
				return clash(at, old, v)
			}
			base.set(key, v)
		}
	}
	return nil
}

func clash(path string, old, v *node) error {
	return v.errorf("failed to merge, path[%s] expect: %s, but got: %s (%s)",
		path, old.kind.luaType(), v.kind.luaType(), v.show())
}

// mayClash lists the keys that may be written in more than one type.
func mayClash(path string, k kind) bool {
	switch {
	case strings.HasPrefix(path, "nginx_config->"):
		// booleans too: YAML readers do not agree on what an unquoted off is
		return k == kindNumber || k == kindString || k == kindBool
	case path == "apisix->node_listen", strings.HasPrefix(path, "sluice->limits->"):
		return k == kindNumber
	}
	return path == "apisix->data_encryption->keyring"
}
