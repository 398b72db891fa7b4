package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// withTables is the README with the tables between their marks written anew:
// <!-- attributes schema.json --> … <!-- end -->.
func (p *plugin) withTables() ([]byte, error) {
	rest, out := p.readme, ""
	for {
		before, after, found := strings.Cut(rest, "<!-- attributes ")
		out += before
		if !found {
			return []byte(out), nil
		}
		file, after, _ := strings.Cut(after, " -->")
		_, after, found = strings.Cut(after, "<!-- end -->")
		if !found {
			return nil, fmt.Errorf("%s/README.md: table of %s has no end", p.dir, file)
		}
		table, err := attributes(filepath.Join(p.dir, file))
		if err != nil {
			return nil, err
		}
		out += "<!-- attributes " + file + " -->\n" + table + "<!-- end -->"
		rest = after
	}
}

// schema is what the tables need of a JSON Schema.
type schema struct {
	Type              string          `json:"type"`
	Description       string          `json:"description"`
	Default           json.RawMessage `json:"default"`
	Enum              []any           `json:"enum"`
	Pattern           string          `json:"pattern"`
	Format            string          `json:"format"`
	Minimum           *json.Number    `json:"minimum"`
	Maximum           *json.Number    `json:"maximum"`
	ExclusiveMinimum  *json.Number    `json:"exclusiveMinimum"`
	MinLength         *int            `json:"minLength"`
	MaxLength         *int            `json:"maxLength"`
	MinItems          *int            `json:"minItems"`
	MinProperties     *int            `json:"minProperties"`
	Items             *schema         `json:"items"`
	Properties        members         `json:"properties"`
	PatternProperties members         `json:"patternProperties"`
	Required          []string        `json:"required"`
	OneOf             []*schema       `json:"oneOf"`
	AnyOf             []*schema       `json:"anyOf"`
	If                *schema         `json:"if"`
	Then              *schema         `json:"then"`
	Else              *schema         `json:"else"`
	EncryptFields     []string        `json:"encrypt_fields"`
}

// members are the members of an object in the order in which they are written.
type members struct {
	names   []string
	schemas map[string]*schema
}

// UnmarshalJSON keeps the order.
func (m *members) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &m.schemas); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		m.names = append(m.names, name.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}

func attributes(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is mentioned in the README", path)
	} else if err != nil {
		return "", err
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var b strings.Builder
	s.rows(&b, "", "")
	if b.Len() == 0 {
		return "None.\n", nil
	}
	return "| Name | Type | Required | Default | Valid values | Description |\n|---|---|---|---|---|---|\n" + b.String(), nil
}

func (s *schema) rows(b *strings.Builder, prefix, when string) {
	for _, name := range s.Properties.names {
		m := s.Properties.schemas[name]
		required := "no"
		if slices.Contains(s.Required, name) {
			required = "yes" + when
		}
		text := m.Description
		if slices.Contains(s.EncryptFields, name) {
			text = strings.TrimPrefix(text+"; stored encrypted", "; ")
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s | %s | %s |\n", prefix, name, m.kind(), required,
			code(oneLine(m.Default)), m.valid(), cell(text))
		m.inner(b, prefix+name, when)
	}
	if s.Then != nil {
		s.Then.rows(b, prefix, when+s.If.condition())
	}
	if s.Else != nil {
		s.Else.rows(b, prefix, when)
	}
}

// inner are the rows of what lies in a member.
func (s *schema) inner(b *strings.Builder, name, when string) {
	s.rows(b, name+".", when)
	if s.Items != nil {
		s.Items.rows(b, name+"[].", when)
	}
	for _, alternative := range append(slices.Clone(s.OneOf), s.AnyOf...) {
		alternative.rows(b, name+".", when)
	}
}

// condition is an if in words.
func (s *schema) condition() string {
	var parts []string
	for _, name := range s.Properties.names {
		for _, v := range s.Properties.schemas[name].Enum {
			parts = append(parts, fmt.Sprintf("with `%s` %v", name, v))
		}
	}
	return " " + strings.Join(parts, " or ")
}

func (s *schema) kind() string {
	switch {
	case s.Type == "array" && s.Items != nil:
		return "array of " + s.Items.kind()
	case s.Type != "":
		return s.Type
	}
	var kinds []string
	for _, alternative := range append(slices.Clone(s.OneOf), s.AnyOf...) {
		k := alternative.kind()
		if k == "" {
			k = "object"
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return strings.Join(kinds, " or ")
}

// valid is what the values may be, in words.
func (s *schema) valid() string {
	var parts []string
	add := func(on bool, format string, args ...any) {
		if on {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	for _, v := range s.Enum {
		add(true, "`%v`", v)
	}
	for _, v := range []struct {
		n    *json.Number
		sign string
	}{{s.Minimum, "≥"}, {s.ExclusiveMinimum, ">"}, {s.Maximum, "≤"}} {
		if v.n != nil {
			add(true, "%s %s", v.sign, v.n)
		}
	}
	for _, v := range []struct {
		n    *int
		text string
	}{{s.MinLength, "at least %d long"}, {s.MaxLength, "at most %d long"}, {s.MinItems, "at least %d items"},
		{s.MinProperties, "at least %d members"}} {
		if v.n != nil {
			add(true, v.text, *v.n)
		}
	}
	add(s.Pattern != "", "`%s`", s.Pattern)
	add(s.Format != "", "%s", s.Format)
	for _, alternative := range s.OneOf {
		if v := alternative.valid(); v != "" && alternative.Type != "object" {
			add(true, "%s %s", alternative.Type, v)
		}
	}
	return cell(strings.Join(parts, ", "))
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}

// oneLine is JSON as it is written, without the line breaks, which would end the table.
func oneLine(text json.RawMessage) string {
	out := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if out != "" && line != "" && !strings.ContainsAny(out[len(out)-1:], "[{") && !strings.ContainsAny(line[:1], "]}") {
			out += " "
		}
		out += line
	}
	return out
}

// cell is text that does not end a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
