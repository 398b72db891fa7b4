package schema

import (
	"encoding/json"
	"strings"
)

// judgement is what the library says of a document.
type judgement uint8

const (
	refused  judgement = iota // or not asked
	accepted                  // but APISIX may see the document differently
	settled                   // accepted, and APISIX sees what the library saw
)

// judge asks the library.
func (s *Schema) judge(doc any) judgement {
	k := kindOf(doc)
	if k == unreadable || s.lib.schema.Validate(doc) != nil {
		return refused
	}
	if k == special || s.lib.lax || s.peculiar {
		return accepted
	}
	return settled
}

// kind says whether APISIX sees a document as every JSON Schema does.
type kind uint8

const (
	ordinary   kind = iota
	special         // has references to secrets, empty tables, or rounded numbers
	unreadable      // has a number that the library would trip over
)

func kindOf(doc any) kind {
	switch v := doc.(type) {
	case string:
		if isRef(v) {
			return special
		}
	case json.Number:
		return kindOfNumber(string(v))
	case float64, float32:
		return unreadable // may be infinite, or no number
	case []any:
		k := emptyIs(len(v))
		for _, e := range v {
			k = max(k, kindOf(e))
		}
		return k
	case map[string]any:
		k := emptyIs(len(v))
		for _, e := range v {
			k = max(k, kindOf(e))
		}
		return k
	}
	return ordinary
}

func emptyIs(n int) kind {
	if n == 0 {
		return special
	}
	return ordinary
}

// kindOfNumber: APISIX reads numbers as floats, the library exactly. An
// exponent could make it calculate with a million digits.
func kindOfNumber(s string) kind {
	const exact = 15 // digits that a float keeps
	switch {
	case s == "" || strings.ContainsAny(s, "eE") || len(s) > 64:
		return unreadable
	case len(s) > exact || strings.HasSuffix(s, "0") && strings.Contains(s, "."):
		return special // an integer may be written as 1.0
	}
	return ordinary
}
