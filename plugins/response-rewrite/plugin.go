// Package responserewrite changes the response: its status, header and body.
package responserewrite

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"sluice/plugins"
	"sluice/plugins/internal/headerop"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

// Plugin is response-rewrite.
var Plugin = plugins.Spec{
	Name:     "response-rewrite",
	Priority: 899,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	StatusCode      int             `json:"status_code"`
	Headers         headers         `json:"headers"`
	Body            *string         `json:"body"`
	BodyBase64      bool            `json:"body_base64"`
	Vars            json.RawMessage `json:"vars"`
	Filters         []filter        `json:"filters"`
	MaxRespBodySize int             `json:"max_resp_body_size"`
}

type filter struct {
	Regex   string `json:"regex"`
	Scope   string `json:"scope"`
	Replace string `json:"replace"`
	Options string `json:"options"`
}

type rewriter struct {
	status       int
	headers      headerop.Operations
	when         *expr.Program[*plugins.Ctx] // nil: always
	body         []byte                      // nil: not replaced
	replacements []replacement               // in place of body
	limit        int                         // of a body that replacements work on
}

type replacement struct {
	with *expr.Template
	all  bool
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	r := &rewriter{status: c.StatusCode, limit: c.MaxRespBodySize}
	if err := c.Headers.compile(&r.headers); err != nil {
		return plugins.Phases{}, err
	}
	var err error
	if r.body, err = c.body(); err != nil {
		return plugins.Phases{}, err
	}
	if c.Vars != nil {
		if r.when, err = expr.Compile(c.Vars, plugins.ExprValue); err != nil {
			return plugins.Phases{}, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
	}
	for _, f := range c.Filters {
		one, err := f.compile()
		if err != nil {
			return plugins.Phases{}, fmt.Errorf("regex \"%s\" validation failed: %w", f.Regex, err)
		}
		r.replacements = append(r.replacements, one)
	}
	p := plugins.Phases{HeaderFilter: r.headerFilter}
	if r.body != nil || r.replacements != nil {
		p.BodyFilter = r.bodyFilter
	}
	return p, nil
}

// body is the new body; nil when none is configured.
func (c *config) body() ([]byte, error) {
	if !c.BodyBase64 {
		if c.Body == nil {
			return nil, nil
		}
		return []byte(*c.Body), nil
	}
	if c.Body == nil || *c.Body == "" {
		return nil, errors.New("invalid base64 content")
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		if b, err := e.DecodeString(*c.Body); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("invalid base64 content")
}

func (f *filter) compile() (replacement, error) {
	re, err := expr.CompileRegex(f.Regex, f.Options)
	if err != nil {
		return replacement{}, err
	}
	with, err := re.Template(f.Replace)
	return replacement{with, f.Scope == "global"}, err
}

func (r *rewriter) headerFilter(c *plugins.Ctx) error {
	if r.when != nil && !r.when.Eval(c) {
		return nil
	}
	if r.status != 0 {
		c.Resp.Status = r.status
	}
	h := &c.Resp.Header
	if r.body != nil || r.replacements != nil {
		c.SetValue(r, &progress{encoding: h.Get("Content-Encoding")})
		c.Resp.ContentLength = -1
		for _, name := range [...]string{"Content-Length", "Content-Encoding", "Last-Modified", "ETag"} {
			h.Del(name)
		}
	}
	r.headers.Apply(c, h, nil)
	return nil
}
