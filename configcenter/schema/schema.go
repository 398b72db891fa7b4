// Package schema checks JSON documents against JSON Schemas and fills in the
// defaults that they declare. Its judgement and its error texts are those of
// APISIX.
//
// The library jsonschema judges first: the schema itself, and each document.
// What it accepts is accepted, and only gets its defaults, which APISIX sets
// while checking; a condition that sees a default is judged again here, with
// it. What it refuses is walked here to find APISIX's words for the first error
// and to let pass what APISIX lets pass: a reference to a secret or an
// environment variable for any string, an empty array for an empty object, and
// a condition that holds once the defaults are there. A document that has such
// a reference, an empty table, or a number that a float does not hold exactly
// is walked in any case, for under a "not" or a "oneOf" leniency refuses.
//
// The package does not know what a document is about.
package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schema is a compiled schema. It is never changed after Compile and may be
// used by many goroutines at once.
type Schema struct {
	name    string
	text    json.RawMessage
	root    *node
	lib     *library
	encrypt []string

	peculiar bool // a keyword does not mean the same to the library
}

// Compile reads a schema (draft 7, and the boolean exclusiveMinimum of draft
// 4). The name only says in errors which schema is meant.
func Compile(name, text string) (*Schema, error) {
	doc, err := decodeOrdered([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	lib, err := newLibrary(doc)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	b := builder{root: doc, done: map[*object]*node{}}
	root, err := b.build(doc)
	if err == nil {
		err = b.checkLoops()
	}
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	s := &Schema{name: name, text: json.RawMessage(strings.TrimSpace(text)), root: root, lib: lib, peculiar: b.markFills(root)}
	if o, ok := doc.(*object); ok {
		s.encrypt = texts(o.get("encrypt_fields"))
	}
	return s, nil
}

// Name is the name given to Compile.
func (s *Schema) Name() string { return s.name }

// Text is the schema as it was given to Compile; the caller must not change it.
func (s *Schema) Text() json.RawMessage { return s.text }

// ShownAs is the schema with another Text.
func (s *Schema) ShownAs(text string) *Schema {
	out := *s
	out.text = json.RawMessage(text)
	return &out
}

// EncryptFields are the dotted paths of encrypt_fields at the schema's top;
// the caller must not change them.
func (s *Schema) EncryptFields() []string { return s.encrypt }

// Validate judges doc (as made by Decode). The defaults take part in the
// judgement, but doc is afterwards as it was; it must not be read by others
// meanwhile. The error's text is APISIX's.
func (s *Schema) Validate(doc any) error {
	w := walker{borrow: true}
	_, err := s.check(&w, doc)
	w.rollback(0)
	return err
}

// Apply judges doc and fills in the defaults in one walk. It returns the
// document, which is doc itself unless doc was an empty array where an object
// is meant (or the reverse). After an error doc may be partly filled in.
func (s *Schema) Apply(doc any) (any, error) {
	return s.check(&walker{}, doc)
}

func (s *Schema) check(w *walker, doc any) (any, error) {
	w.filling = s.judge(doc) == settled
	if c, ok := s.root.coerce(doc); ok {
		doc = c
	}
	return doc, w.walk(s.root, doc)
}

// Fill fills in the defaults in place and returns the document like Apply. A
// document that Validate refuses is filled up to the first error.
func (s *Schema) Fill(doc any) any {
	doc, _ = s.Apply(doc) // an error ends the filling, which is all Fill promises
	return doc
}

// Check decodes raw, judges it and returns it with its defaults filled in and
// its members sorted by name.
func (s *Schema) Check(raw []byte) (json.RawMessage, error) {
	doc, err := Decode(raw)
	if err != nil {
		return nil, err
	}
	if doc, err = s.Apply(doc); err != nil {
		return nil, err
	}
	return Encode(doc)
}
