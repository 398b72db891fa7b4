// Package echo puts texts into responses, for trying things out.
package echo

import (
	_ "embed"
	"encoding/json"
	"strings"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is echo.
var Plugin = plugins.Spec{
	Name:     "echo",
	Priority: 412,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	BeforeBody *string                    `json:"before_body"`
	Body       *string                    `json:"body"`
	AfterBody  *string                    `json:"after_body"`
	Headers    map[string]json.RawMessage `json:"headers"`
}

type echo struct {
	before, after []byte
	whole         []byte // nil: the upstream's body is in the middle
	fields        []field
}

type field struct{ name, value string }

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	e := &echo{before: text(c.BeforeBody), after: text(c.AfterBody), fields: fields(c.Headers)}
	if c.Body != nil {
		e.whole = append(append(append([]byte{}, e.before...), *c.Body...), e.after...)
	}
	return plugins.Phases{HeaderFilter: e.headerFilter, BodyFilter: e.bodyFilter}, nil
}

func text(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

// fields are the configured ones, or none when one of them cannot be one.
func fields(conf map[string]json.RawMessage) []field {
	var list []field
	for name, raw := range conf {
		value := string(raw)
		switch {
		case raw[0] == '"':
			value = ""
			if json.Unmarshal(raw, &value) != nil {
				return nil
			}
		case raw[0] != '-' && (raw[0] < '0' || raw[0] > '9'):
			return nil
		}
		if name == "" || strings.ContainsAny(name, " :\r\n\t\x00") || strings.ContainsAny(value, "\r\n\x00") {
			return nil
		}
		list = append(list, field{name, value})
	}
	return list
}

func (e *echo) headerFilter(c *plugins.Ctx) error {
	h := &c.Resp.Header
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Last-Modified", "ETag"} {
		h.Del(name)
	}
	c.Resp.ContentLength = -1
	for _, f := range e.fields {
		if f.value == "" {
			h.Del(f.name)
		} else {
			h.Set(f.name, f.value)
		}
	}
	return nil
}

func (e *echo) bodyFilter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	first := c.Value(e) == nil
	if first {
		c.SetValue(e, true)
	}
	if e.whole != nil {
		if first {
			return e.whole, nil
		}
		return nil, nil
	}
	if first && len(e.before) > 0 {
		piece = append(append([]byte{}, e.before...), piece...)
	}
	if last && len(e.after) > 0 {
		piece = append(piece[:len(piece):len(piece)], e.after...)
	}
	return piece, nil
}
