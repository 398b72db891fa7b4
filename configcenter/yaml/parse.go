package yaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"sluice/configcenter/schema"
)

// endFlag must be the last thing in a YAML file: without it the file may be
// one that is still being written.
var endFlag = regexp.MustCompile(`#END\s*$`)

// endLength is how far from the end the flag is looked for.
const endLength = 10

func (s *Source) parseYAML(text []byte) (any, error) {
	if !endFlag.Match(text[max(0, len(text)-endLength):]) {
		return nil, fmt.Errorf("missing valid end flag in file %s", s.path)
	}
	resolved, _, err := s.resolve(string(text))
	if err != nil {
		return nil, err
	}
	return DecodeYAML([]byte(resolved))
}

func (s *Source) parseJSON(text []byte) (any, error) {
	doc, err := schema.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("failed to decode json: %w", err)
	}
	return s.resolveAll(doc)
}

// variable is ${{NAME}} or ${{NAME:=default}}.
var variable = regexp.MustCompile(`\$\{\{\s*([A-Za-z0-9_]+)((?::=|=|:)?[\s\S]*?)\s*\}\}`)

// resolve puts the environment's values in; used says whether there were any.
func (s *Source) resolve(text string) (out string, used bool, err error) {
	out = variable.ReplaceAllStringFunc(text, func(m string) string {
		parts := variable.FindStringSubmatch(m)
		name, rest := parts[1], parts[2]
		if v, ok := s.env(name); ok {
			used = true
			return v
		}
		if def, ok := strings.CutPrefix(rest, ":="); ok {
			used = true
			return strings.TrimSpace(def)
		}
		err = fmt.Errorf("failed to handle configuration: can't find environment variable %s", name)
		return ""
	})
	return out, used, err
}

// resolveAll puts the environment into every string of a JSON document, names
// included. A value that came from there and looks like a number or a boolean
// becomes one.
func (s *Source) resolveAll(doc any) (any, error) {
	switch v := doc.(type) {
	case string:
		text, used, err := s.resolve(v)
		if used {
			return typed(text), err
		}
		return text, err
	case []any:
		for i := range v {
			var err error
			if v[i], err = s.resolveAll(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			name, _, err := s.resolve(k)
			if err != nil {
				return nil, err
			}
			if out[name], err = s.resolveAll(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return doc, nil
}

func typed(text string) any {
	switch {
	case text == "true" || text == "false":
		return text == "true"
	case json.Valid([]byte(text)):
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return json.Number(text)
		}
	}
	return text
}

// Limits against files that grow when read: aliases of aliases of aliases.
const (
	maxDepth  = 200
	maxValues = 10_000_000
)

// DecodeYAML reads a YAML document as schema.Decode reads JSON: objects,
// arrays, strings, json.Number, booleans and nil.
func DecodeYAML(text []byte) (any, error) {
	var n yamlv3.Node
	dec := yamlv3.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&n); err != nil {
		return nil, err
	}
	c := converter{left: maxValues}
	return c.value(&n, 0)
}

type converter struct{ left int }

func (c *converter) value(n *yamlv3.Node, depth int) (any, error) {
	if c.left--; c.left < 0 || depth > maxDepth {
		return nil, fmt.Errorf("line %d: too many values, or nested too deep", n.Line)
	}
	switch n.Kind {
	case yamlv3.DocumentNode:
		return c.value(n.Content[0], depth+1)
	case yamlv3.AliasNode:
		return c.value(n.Alias, depth+1)
	case yamlv3.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, e := range n.Content {
			v, err := c.value(e, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yamlv3.MappingNode:
		return c.mapping(n, depth)
	default:
		return scalar(n)
	}
}

func (c *converter) mapping(n *yamlv3.Node, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	merged := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		v, err := c.value(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if key.ShortTag() == "!!merge" {
			merge(merged, v)
			continue
		}
		if key.Kind != yamlv3.ScalarNode {
			return nil, fmt.Errorf("line %d: a name must be a plain value", key.Line)
		}
		if _, twice := out[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %q is there twice", key.Line, key.Value)
		}
		out[key.Value] = v
	}
	for k, v := range merged {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out, nil
}

// merge takes in what "<<" brings: an object, or a list of them.
func merge(into map[string]any, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if _, ok := into[k]; !ok {
				into[k] = e
			}
		}
	case []any:
		for _, e := range v {
			merge(into, e)
		}
	}
}

func scalar(n *yamlv3.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case "!!int":
		var i int64
		if err := n.Decode(&i); err == nil {
			return json.Number(strconv.FormatInt(i, 10)), nil
		}
		return number(n)
	case "!!float":
		return number(n)
	}
	return n.Value, nil // dates too stay what was written
}

func number(n *yamlv3.Node) (any, error) {
	var f float64
	if err := n.Decode(&f); err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	text, err := json.Marshal(f) // refuses what JSON has no number for
	if err != nil {
		return nil, fmt.Errorf("line %d: %s: not a number that JSON knows", n.Line, n.Value)
	}
	return json.Number(text), nil
}
