package mocking

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// property is what is looked at of a JSON Schema.
type property struct {
	Type       string               `json:"type"`
	Example    any                  `json:"example"`
	Items      *property            `json:"items"`
	Properties map[string]*property `json:"properties"`
}

// maxDepth bounds nesting: a list in a list in a list … grows threefold each time.
const maxDepth = 10

// check refuses what would not come to an end.
func (p *property) check(depth int) error {
	if p == nil {
		return nil
	}
	if depth > maxDepth {
		return errors.New("response_schema: nested too deeply")
	}
	if err := p.Items.check(depth + 1); err != nil {
		return err
	}
	for _, inner := range p.Properties {
		if err := inner.check(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (p *property) object() map[string]any {
	out := map[string]any{}
	for name, inner := range p.Properties {
		if v := inner.value(); v != nil {
			out[name] = v
		}
	}
	return out
}

// value is the example where there is a fitting one, or random; nil for a type
// that is none.
func (p *property) value() any {
	if p == nil {
		return nil
	}
	switch strings.ToLower(p.Type) {
	case "object":
		return p.object()
	case "array":
		return p.list()
	case "string":
		if s, ok := p.Example.(string); ok {
			return s
		}
		b := make([]byte, 1+rand.IntN(10))
		for i := range b {
			b[i] = byte('a' + rand.IntN(26))
		}
		return string(b)
	case "number":
		if n, ok := p.Example.(json.Number); ok {
			return n
		}
		return rand.Float64() * 10000
	case "integer":
		if n, ok := p.Example.(json.Number); ok {
			f, _ := n.Float64()
			return math.Floor(f)
		}
		return 1 + rand.IntN(10000)
	case "boolean":
		if b, ok := p.Example.(bool); ok {
			return b
		}
		return rand.IntN(2) == 1
	}
	return nil
}

func (p *property) list() any {
	if p.Items == nil {
		return nil
	}
	out := []any{}
	for range 1 + rand.IntN(3) {
		if v := p.Items.value(); v != nil {
			out = append(out, v)
		}
	}
	return out
}

func jsonText(value any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "" // of maps, lists and plain values: it cannot be
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// xmlText writes value in an element "data", members by name, lists as
// repeated elements.
func xmlText(value any) string {
	var b strings.Builder
	writeXML(&b, "data", value)
	return b.String()
}

func writeXML(b *strings.Builder, name string, value any) {
	switch v := value.(type) {
	case map[string]any:
		b.WriteString("<" + name + ">")
		for _, key := range slices.Sorted(maps.Keys(v)) {
			writeXML(b, key, v[key])
		}
		b.WriteString("</" + name + ">")
	case []any:
		for _, e := range v {
			writeXML(b, name, e)
		}
	case string:
		b.WriteString("<" + name + ">" + escapeXML.Replace(v) + "</" + name + ">")
	case float64:
		b.WriteString("<" + name + ">" + strconv.FormatFloat(v, 'g', 14, 64) + "</" + name + ">")
	default:
		b.WriteString("<" + name + ">" + jsonText(v) + "</" + name + ">")
	}
}

var escapeXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
