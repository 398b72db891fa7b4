package requestvalidation

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/gateway/wire"
)

// shape is a schema of the common kind, in a form that judges the text of a
// document without making the document. It says yes or does not know: what it
// does not know, the schema itself judges.
type shape struct {
	kinds      kinds
	names      []string // of properties
	properties []*shape
	required   uint64 // bits of names
	closed     bool   // no other members
	items      *shape // nil: anything
	enum       []string
	minLength  int
	maxLength  int // -1: none
	bounded    bool
	min, max   int64
}

// kinds are the types that a value may have; 0 stands for all.
type kinds uint8

const (
	object kinds = 1 << iota
	array
	text
	integer
	number
	boolean
	null
)

var kindOf = map[string]kinds{"object": object, "array": array, "string": text, "integer": integer,
	"number": number | integer, "boolean": boolean, "null": null}

// mute are the keywords that judge nothing.
var mute = map[string]bool{"title": true, "description": true, "$comment": true, "$schema": true, "examples": true}

// newShape makes a shape of a schema; nil when the schema is of another kind.
func newShape(doc any) *shape {
	schema, ok := doc.(map[string]any)
	if !ok {
		return nil
	}
	s := &shape{maxLength: -1, min: -maxInteger, max: maxInteger}
	for keyword, v := range schema {
		if !mute[keyword] && !s.take(keyword, v) {
			return nil
		}
	}
	return s
}

// maxInteger is the largest number that a shape reads.
const maxInteger = 1e15

// maxNames is how many properties a shape may have.
const maxNames = 64

// take adds a keyword and reports whether a shape can have it.
func (s *shape) take(keyword string, v any) bool {
	switch v := v.(type) {
	case string:
		if keyword == "type" {
			s.kinds = kindOf[v]
			return s.kinds != 0
		}
	case bool:
		if keyword == "additionalProperties" {
			s.closed = !v
			return true
		}
	case []any:
		return s.takeList(keyword, v)
	case map[string]any:
		if keyword == "items" {
			s.items = newShape(v)
			return s.items != nil
		}
		return keyword == "properties" && s.takeProperties(v)
	case json.Number:
		return s.takeBound(keyword, v)
	}
	return false
}

func (s *shape) takeList(keyword string, list []any) bool {
	for _, item := range list {
		t, ok := item.(string)
		switch {
		case !ok:
			return false
		case keyword == "type" && kindOf[t] != 0:
			s.kinds |= kindOf[t]
		case keyword == "enum":
			s.enum = append(s.enum, t)
		case keyword == "required":
			if s.require(t) == nil {
				return false
			}
			s.required |= 1 << slices.Index(s.names, t)
		default:
			return false
		}
	}
	return len(list) > 0 || keyword == "required"
}

// require is where the shape of the property called name stands; nil: there are too many.
func (s *shape) require(name string) **shape {
	i := slices.Index(s.names, name)
	if i < 0 {
		if i = len(s.names); i == maxNames {
			return nil
		}
		s.names, s.properties = append(s.names, name), append(s.properties, nil)
	}
	return &s.properties[i]
}

func (s *shape) takeProperties(properties map[string]any) bool {
	for name, doc := range properties {
		at, inner := s.require(name), newShape(doc)
		if at == nil || inner == nil {
			return false
		}
		*at = inner
	}
	return true
}

func (s *shape) takeBound(keyword string, v json.Number) bool {
	n, err := v.Int64()
	if err != nil || n < -maxInteger || n > maxInteger {
		return false
	}
	switch keyword {
	case "minLength":
		s.minLength = int(n)
	case "maxLength":
		s.maxLength = int(n)
	case "minimum":
		s.min, s.bounded = n, true
	case "maximum":
		s.max, s.bounded = n, true
	default:
		return false
	}
	return true
}

// fits reports whether b is a document of the shape, beyond doubt: no name comes
// twice in it, and every reader will read it in the same way.
func (s *shape) fits(b []byte) bool {
	r := reader{b: b}
	return r.value(s, 0) && r.blank() == 0 && utf8.Valid(b)
}

// allows reports whether a value of kind k may stand here.
func (s *shape) allows(k kinds) bool { return s == nil || s.kinds == 0 || s.kinds&k != 0 }

// allowsText judges a string without escapes.
func (s *shape) allowsText(t []byte) bool {
	if s == nil {
		return true
	}
	if s.minLength > 0 || s.maxLength >= 0 {
		n := utf8.RuneCount(t)
		if n < s.minLength || s.maxLength >= 0 && n > s.maxLength {
			return false
		}
	}
	return s.enum == nil || slices.Contains(s.enum, string(t))
}

// fitsFields is fits for the fields of a header.
func (s *shape) fitsFields(h *wire.Header, host string) bool {
	if !s.allows(object) || s.enum != nil || s.closed {
		return false
	}
	for i, name := range s.names {
		n := 0
		value := ""
		if strings.EqualFold(name, "host") {
			n, value = 1, host
		}
		for j := range h.Len() {
			if f := h.At(j); wire.EqualFold(f.Name, name) {
				n++
				value = f.Value
			}
		}
		in := s.properties[i]
		switch {
		case n > 1, n == 0 && s.required&(1<<i) != 0:
			return false
		case n == 1 && (!in.allows(text) || in != nil && (in.minLength > 0 || in.maxLength >= 0 || in.enum != nil && !slices.Contains(in.enum, value))):
			return false
		}
	}
	return true
}
