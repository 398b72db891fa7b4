// Package bodytransformer makes bodies of requests and responses anew, from
// templates that see the old ones decoded.
package bodytransformer

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"sluice/gateway/lua"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is body-transformer.
var Plugin = plugins.Spec{
	Name:     "body-transformer",
	Priority: 1080,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Request         *transform `json:"request"`
	Response        *transform `json:"response"`
	MaxReqBodySize  int64      `json:"max_req_body_size"`
	MaxRespBodySize int        `json:"max_resp_body_size"`
}

type transform struct {
	InputFormat      string `json:"input_format"`
	Template         string `json:"template"`
	TemplateIsBase64 bool   `json:"template_is_base64"`
}

type transformer struct {
	config
	request, response *templates // nil: not transformed
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	host, release := lua.Open(env)
	t := &transformer{config: *c}
	p := plugins.Phases{}
	if c.Request != nil {
		t.request = compile(host, "request", c.Request)
		p.Rewrite = t.rewrite
	}
	if c.Response != nil {
		t.response = compile(host, "response", c.Response)
		p.HeaderFilter, p.BodyFilter = t.headerFilter, t.bodyFilter
	}
	p.Close = func() {
		t.request.close()
		t.response.close()
		release()
	}
	return p, nil
}

func (t *transformer) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	body, err := c.Body(t.MaxReqBodySize)
	var tooLarge *plugins.BodyTooLargeError
	switch {
	case errors.As(err, &tooLarge):
		c.Log().Error("failed to get request body", "err", err)
		return plugins.Exit(413, nil), nil
	case err != nil:
		return nil, err
	case len(body) == 0:
		body = nil
	}
	ct := c.Req.Header.Get("Content-Type")
	format := t.request.format(ct)
	if c.Req.Method == "GET" {
		format = "args"
	}
	out, fault := t.request.render(c, "rewrite", lua.Input{Body: body, Format: format, ContentType: ct})
	if fault != nil {
		c.Log().Error(fault.text)
		return plugins.Exit(fault.status, plugins.Message{Message: fault.text}), nil
	}
	c.SetBody(out)
	c.Req.Header.Set("Content-Length", strconv.Itoa(len(out)))
	return nil, nil
}

// held is how far the body of one response is.
type held struct {
	format, contentType string
	body                []byte
	done                bool // the new body is out: what still comes is dropped
}

func (t *transformer) headerFilter(c *plugins.Ctx) error {
	h := &c.Resp.Header
	ct := h.Get("Content-Type")
	c.SetValue(t, &held{format: t.response.format(ct), contentType: ct})
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Last-Modified", "ETag"} {
		h.Del(name)
	}
	c.Resp.ContentLength = -1
	return nil
}

func (t *transformer) bodyFilter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	b, _ := c.Value(t).(*held)
	switch {
	case b == nil:
		return piece, nil
	case b.done:
		return nil, nil
	}
	b.body = append(b.body, piece[:min(len(piece), t.MaxRespBodySize-len(b.body))]...)
	if !last && len(b.body) < t.MaxRespBodySize {
		return nil, nil
	}
	b.done = true
	if b.body == nil {
		b.body = []byte{}
	}
	out, fault := t.response.render(c, "body_filter", lua.Input{Body: b.body, Format: b.format, ContentType: b.contentType})
	if fault != nil {
		c.Log().Error("failed to transform response body", "err", fault.text)
		return b.body, nil
	}
	return out, nil
}

// fault is why there is no new body.
type fault struct {
	status int
	text   string
}

func newFault(status int, which, what string, err error) *fault {
	return &fault{status, fmt.Sprintf("%s %s: %v", which, what, err)}
}
