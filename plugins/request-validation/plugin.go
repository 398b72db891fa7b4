// Package requestvalidation lets requests through whose header and body fit
// JSON Schemas.
package requestvalidation

import (
	_ "embed"
	"encoding/json"
	"strings"

	"sluice/configcenter/schema"
	"sluice/plugins"
)

//go:embed schema.json
var ownSchema string

// Plugin is request-validation.
var Plugin = plugins.Spec{
	Name:     "request-validation",
	Priority: 2800,
	Version:  "0.1",
	Schema:   ownSchema,
	New:      plugins.Build(build),
}

type config struct {
	HeaderSchema   json.RawMessage `json:"header_schema"`
	BodySchema     json.RawMessage `json:"body_schema"`
	MaxReqBodySize int64           `json:"max_req_body_size"`
	RejectedCode   int             `json:"rejected_code"`
	RejectedMsg    string          `json:"rejected_msg"`
}

type validation struct {
	config
	header, body *schema.Schema // nil: not looked at
	names        []string       // of header fields, as the schema writes them

	headerShape, bodyShape *shape // what may judge first; nil: the schemas do
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	v := &validation{config: *c}
	var err error
	if v.body, v.bodyShape, err = compile("body_schema", c.BodySchema); err != nil {
		return plugins.Phases{}, err
	}
	if v.header, v.headerShape, err = compile("header_schema", c.HeaderSchema); err != nil {
		return plugins.Phases{}, err
	}
	if v.header != nil {
		doc, err := decode(c.HeaderSchema)
		if err != nil {
			return plugins.Phases{}, err
		}
		v.names = fieldNames(doc, nil)
	}
	return plugins.Phases{Rewrite: v.rewrite}, nil
}

func compile(name string, text json.RawMessage) (*schema.Schema, *shape, error) {
	if len(text) == 0 {
		return nil, nil, nil
	}
	doc, err := decode(text)
	if err != nil {
		return nil, nil, err
	}
	changed, err := adapt(doc)
	if err != nil {
		return nil, nil, err
	}
	if changed {
		if text, err = schema.Encode(doc); err != nil {
			return nil, nil, err
		}
	}
	s, err := schema.Compile(name, string(text))
	return s, newShape(doc), err
}

func (v *validation) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if v.header != nil && (v.headerShape == nil || !v.headerShape.fitsFields(&c.Req.Header, c.Req.Host)) {
		if _, err := v.header.Apply(v.fields(c)); err != nil {
			return v.reject(c, err), nil
		}
	}
	if v.body != nil {
		return v.checkBody(c)
	}
	return nil, nil
}

// reject answers with the configured message, or with why.
func (v *validation) reject(c *plugins.Ctx, why error) *plugins.Reply {
	c.Log().Error("req schema validation failed", "err", why)
	if v.RejectedMsg != "" {
		return plugins.Exit(v.RejectedCode, v.RejectedMsg)
	}
	return plugins.Exit(v.RejectedCode, why.Error())
}

// refuse answers with the configured message and no other.
func (v *validation) refuse() *plugins.Reply {
	if v.RejectedMsg != "" {
		return plugins.Exit(v.RejectedCode, v.RejectedMsg)
	}
	return plugins.Exit(v.RejectedCode, nil)
}

func (v *validation) checkBody(c *plugins.Ctx) (*plugins.Reply, error) {
	body, err := c.Body(v.MaxReqBodySize)
	if err != nil {
		c.Log().Error("failed to get body", "err", err)
		return v.refuse(), nil
	}
	if len(body) == 0 {
		return v.refuse(), nil
	}
	kinds := c.Req.Header.Values("Content-Type")
	if len(kinds) > 1 {
		// We and the upstream might not agree on which one counts.
		c.Log().Error("duplicated Content-Type header")
		return v.refuse(), nil
	}
	if len(kinds) == 1 && isForm(kinds[0]) {
		if _, err := v.body.Apply(decodeForm(string(body))); err != nil {
			return v.reject(c, err), nil
		}
		return nil, nil
	}
	if v.bodyShape != nil && v.bodyShape.fits(body) {
		return nil, nil
	}
	doc, err := decode(body)
	if err != nil {
		c.Log().Error("failed to decode the req body")
		return v.reject(c, err), nil
	}
	if doc, err = v.body.Apply(doc); err != nil {
		return v.reject(c, err), nil
	}
	// What was judged is what goes upstream: another reader might take another
	// of two members of one name.
	text, err := schema.Encode(doc)
	if err != nil {
		return nil, err
	}
	c.SetBody(text)
	return nil, nil
}

func isForm(contentType string) bool {
	const form = "application/x-www-form-urlencoded"
	return len(contentType) >= len(form) && strings.EqualFold(contentType[:len(form)], form)
}
