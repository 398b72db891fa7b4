// Package mocking answers in the upstream's place: with an example, or with a
// random body that fits a schema.
package mocking

import (
	_ "embed"
	"errors"
	"strings"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/headerop"
)

//go:embed schema.json
var schema string

// Plugin is mocking.
var Plugin = plugins.Spec{
	Name:     "mocking",
	Priority: 10900,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Delay           int             `json:"delay"`
	ResponseStatus  int             `json:"response_status"`
	ContentType     string          `json:"content_type"`
	ResponseExample *string         `json:"response_example"`
	ResponseSchema  *property       `json:"response_schema"`
	WithMockHeader  bool            `json:"with_mock_header"`
	ResponseHeaders headerop.Fields `json:"response_headers"`
}

// mockedBy is what x-mock-by says: clients and tests of APISIX look for it.
const mockedBy = "APISIX/3.18.0"

// maxDelay keeps a delay in the range of its type; seconds.
const maxDelay = 1e9

type mock struct {
	config
	example *plugins.Template // nil: a random body
	encode  func(value any) string
	headers headerop.Operations
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	m := &mock{config: *c}
	kind, _, _ := strings.Cut(c.ContentType, ";")
	switch kind {
	case "application/json", "text/plain":
		m.encode = jsonText
	case "application/xml", "text/xml":
		m.encode = xmlText
	case "text/html":
		m.encode = func(any) string { return "" }
	default:
		return plugins.Phases{}, errors.New("unsupported content type!")
	}
	if strings.ContainsAny(c.ContentType, "\r\n\x00") {
		return plugins.Phases{}, errors.New("unsupported content type!")
	}
	var err error
	if c.ResponseExample != nil {
		if m.example, err = plugins.ParseTemplate(*c.ResponseExample); err != nil {
			return plugins.Phases{}, err
		}
	} else if err := c.ResponseSchema.check(0); err != nil {
		return plugins.Phases{}, err
	}
	if err := m.headers.Add(c.ResponseHeaders); err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: m.access}, nil
}

func (m *mock) access(c *plugins.Ctx) (*plugins.Reply, error) {
	h := &c.RespHeader
	h.Set("Content-Type", m.ContentType)
	if m.WithMockHeader {
		h.Set("x-mock-by", mockedBy)
	}
	m.headers.Apply(c, h, nil)
	if m.Delay > 0 {
		if err := c.Sleep(time.Duration(min(m.Delay, maxDelay)) * time.Second); err != nil {
			return nil, err
		}
	}
	body, err := m.body(c)
	if err != nil {
		return nil, err
	}
	return plugins.Exit(m.ResponseStatus, body), nil
}

func (m *mock) body(c *plugins.Ctx) (string, error) {
	if m.example != nil {
		return m.example.Render(c), nil
	}
	text := m.encode(m.ResponseSchema.object())
	if !strings.Contains(text, "$") {
		return text, nil
	}
	t, err := plugins.ParseTemplate(text)
	if err != nil {
		return "", err
	}
	return t.Render(c), nil
}
