// Package batchrequests offers an API that makes many requests of one, and one
// answer of theirs.
package batchrequests

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice/configcenter/schema"
	"sluice/plugins"
)

//go:embed schema.json
var ownSchema string

//go:embed metadata.json
var metadataSchema string

//go:embed batch.json
var batchSchema string

const name = "batch-requests"

// Plugin is batch-requests.
var Plugin = plugins.Spec{
	Name:     name,
	Priority: 4010,
	Version:  "0.1",
	Global:   true,
	Schema:   ownSchema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
	NewAPIs:  apis,
}

// config is empty: the plugin does its work in its API.
type config struct{}

func build(*config, *plugins.Env) (plugins.Phases, error) { return plugins.Phases{}, nil }

type attributes struct {
	URI          string `json:"uri"`
	RealIPHeader string `json:"real_ip_header"`
}

type limits struct {
	MaxBodySize      int64 `json:"max_body_size"`
	MaxPipelineItems int   `json:"max_pipeline_items"`
}

type api struct {
	attributes
	schema *schema.Schema
}

func apis(env *plugins.Env) ([]plugins.API, error) {
	a := &api{attributes: attributes{URI: "/apisix/batch-requests", RealIPHeader: "X-Real-IP"}}
	if err := plugins.Decode(env.Attr, &a.attributes); err != nil {
		return nil, err
	}
	var err error
	if a.schema, err = schema.Compile(name, batchSchema); err != nil {
		return nil, err
	}
	return []plugins.API{{Methods: []string{"POST"}, Path: a.URI, Serve: a.serve}}, nil
}

// countRest tells how long a body of unknown length really is, as far as that
// is no more than twice what is allowed.
func countRest(c *plugins.Ctx, e *plugins.BodyTooLargeError) {
	if c.Req.ContentLength < 0 {
		n, _ := io.CopyN(io.Discard, c.Req.Body, 2*e.Limit) // a client that is gone gets no answer anyway
		e.Size = max(e.Size, n)
	}
}

// batch is a body that fits the schema.
type batch struct {
	Query    map[string]any `json:"query"`
	Headers  map[string]any `json:"headers"`
	Timeout  int64          `json:"timeout"`
	Pipeline []request      `json:"pipeline"`
}

func (a *api) serve(c *plugins.Ctx) (*plugins.Reply, error) {
	c.RespHeader.Set("Content-Type", "application/json")
	max := limits{1 << 20, 1000}
	if err := plugins.Decode(c.Metadata(name), &max); err != nil {
		return nil, err
	}
	body, err := c.Body(max.MaxBodySize)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		countRest(c, tooLarge)
		return failed(413, tooLarge.Error()), nil
	}
	if err != nil {
		return nil, err
	}
	b, refused := a.read(body)
	if refused != nil {
		return refused, nil
	}
	if n := len(b.Pipeline); n > max.MaxPipelineItems {
		return failed(400, fmt.Sprintf("too many pipeline requests, %d exceeds the maximum of %d", n, max.MaxPipelineItems)), nil
	}
	caller := caller{c: c, timeout: time.Duration(min(b.Timeout, 1<<40)) * time.Millisecond}
	defer caller.close()
	c.Leave()
	if err := caller.dial(); err != nil {
		return failed(500, "connect to apisix failed: "+err.Error()), nil
	}
	answers, err := caller.run(a.complete(c, b))
	if err != nil {
		return failed(400, "request failed: "+err.Error()), nil
	}
	return plugins.Exit(200, answers), nil
}

func failed(status int, why string) *plugins.Reply {
	return plugins.Exit(status, plugins.ErrorMsg{ErrorMsg: why})
}

// read makes a batch of a body.
func (a *api) read(body []byte) (*batch, *plugins.Reply) {
	if len(body) == 0 {
		return nil, failed(400, "no request body, you should give at least one pipeline setting")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		at := int64(1)
		if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
			at = max(s.Offset, 1)
		}
		return nil, failed(400, fmt.Sprintf("invalid request body: %s, err: Expected value but found invalid token at character %d", body, at))
	}
	doc, err := a.schema.Apply(doc)
	if err != nil {
		return nil, failed(400, "bad request body: "+err.Error())
	}
	text, err := schema.Encode(doc)
	b := new(batch)
	if err == nil {
		err = plugins.Decode(text, b)
	}
	if err != nil {
		return nil, failed(400, "bad request body: "+err.Error())
	}
	return b, nil
}

// complete gives each request what it has from the batch and from the request
// that brought it. Its own fields win, but not over the client's address.
func (a *api) complete(c *plugins.Ctx, b *batch) []request {
	common := lower(b.Headers)
	outer := map[string]any{}
	for field, value := range c.Req.Header.All() {
		key := strings.ToLower(field)
		switch old := outer[key].(type) {
		case nil:
			if !strings.HasPrefix(key, "content-") && key != "expect" {
				outer[key] = value
			}
		case string:
			outer[key] = []any{old, value}
		case []any:
			outer[key] = append(old, value)
		}
	}
	outer["host"] = c.Req.Host
	for i := range b.Pipeline {
		r := &b.Pipeline[i]
		r.Headers = lower(r.Headers)
		r.Headers = under(under(r.Headers, common), outer)
		r.Headers[strings.ToLower(a.RealIPHeader)] = c.Addr.String()
		r.Query = under(r.Query, b.Query)
	}
	return b.Pipeline
}

func lower(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[strings.ToLower(k)] = v
	}
	return out
}

// under adds to m what it lacks.
func under(m, from map[string]any) map[string]any {
	if m == nil {
		m = make(map[string]any, len(from))
	}
	for k, v := range from {
		if _, has := m[k]; !has {
			m[k] = v
		}
	}
	return m
}
