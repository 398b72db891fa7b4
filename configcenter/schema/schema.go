// Package schema checks JSON documents against JSON Schemas and fills in the
// defaults that they declare. Its judgement and its error texts are those of
// APISIX: a reference to a secret passes for any string, an empty array is an
// empty object, defaults are set while checking (so that a condition sees
// them), and the first error ends the check.
//
// The library jsonschema reads and judges the schemas themselves; documents
// are judged here. The package does not know what a document is about.
package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// Schema is a compiled schema. It is never changed after Compile and may be
// used by many goroutines at once.
type Schema struct {
	name    string
	text    json.RawMessage
	root    *node
	encrypt []string
}

// Compile reads a schema (draft 7, and the boolean exclusiveMinimum of draft
// 4). The name only says in errors which schema is meant.
func Compile(name, text string) (*Schema, error) {
	doc, err := decodeOrdered([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	if err := checkSchema(doc); err != nil {
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
	s := &Schema{name: name, text: json.RawMessage(strings.TrimSpace(text)), root: root}
	if o, ok := doc.(*object); ok {
		s.encrypt = texts(o.get("encrypt_fields"))
	}
	return s, nil
}

// checkSchema lets the library judge the schema against draft 7's own schema
// and follow its references.
func checkSchema(doc any) error {
	text, err := appendValue(nil, portable(doc))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft7
	const at = "mem:///schema.json"
	if err := c.AddResource(at, strings.NewReader(string(text))); err != nil {
		return err
	}
	_, err = c.Compile(at)
	return err
}

// Name is the name given to Compile.
func (s *Schema) Name() string { return s.name }

// Text is the schema as it was given to Compile; the caller must not change it.
func (s *Schema) Text() json.RawMessage { return s.text }

// EncryptFields are the dotted paths of encrypt_fields at the schema's top;
// the caller must not change them.
func (s *Schema) EncryptFields() []string { return s.encrypt }

// Validate judges doc (as made by Decode). The defaults take part in the
// judgement, but doc is afterwards as it was; it must not be read by others
// meanwhile. The error's text is APISIX's.
func (s *Schema) Validate(doc any) error {
	w := walker{borrow: true}
	if c, ok := s.root.coerce(doc); ok {
		doc = c
	}
	err := w.walk(s.root, doc)
	w.rollback(0)
	return err
}

// Apply judges doc and fills in the defaults in one walk. It returns the
// document, which is doc itself unless doc was an empty array where an object
// is meant (or the reverse). After an error doc may be partly filled in.
func (s *Schema) Apply(doc any) (any, error) {
	var w walker
	if c, ok := s.root.coerce(doc); ok {
		doc = c
	}
	if err := w.walk(s.root, doc); err != nil {
		return doc, err
	}
	return doc, nil
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
