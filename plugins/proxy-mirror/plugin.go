// Package proxymirror sends copies of requests to another server and forgets
// what that one answers.
package proxymirror

import (
	_ "embed"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"

	"sluice/gateway/uri"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is proxy-mirror.
var Plugin = plugins.Spec{
	Name:     "proxy-mirror",
	Priority: 1010,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Host       string  `json:"host"`
	Path       string  `json:"path"`
	ConcatMode string  `json:"path_concat_mode"`
	Sample     float64 `json:"sample_ratio"`
}

type mirror struct {
	config
	scheme, authority string
	sender            *sender
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	t, err := timeouts(env.Attr)
	if err != nil {
		return plugins.Phases{}, err
	}
	m := &mirror{config: *c}
	m.scheme, m.authority, _ = strings.Cut(c.Host, "://")
	s, release := plugins.Share(env.Shared, "proxy-mirror", func() *sender { return newSender(t, env.Log) }, (*sender).close)
	m.sender = s
	return plugins.Phases{Rewrite: m.rewrite, BeforeProxy: m.beforeProxy, Close: release}, nil
}

// rewrite decides whether a request is copied, and to which address. That is
// before later plugins rewrite it for the upstream.
func (m *mirror) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if m.Sample < 1 && rand.Float64() >= m.Sample {
		return nil, nil
	}
	target := c.UpstreamURI
	if target == "" {
		target = c.Req.Target
	}
	switch {
	case m.Path == "":
	case m.ConcatMode == "prefix":
		target = m.Path + target
	default:
		_, query, has := strings.Cut(target, "?")
		if target = m.Path; has {
			target += "?" + query
		}
	}
	c.SetValue(m, strings.Clone(target))
	return nil, nil
}

// beforeProxy sends the copy as the request is at its first try.
func (m *mirror) beforeProxy(c *plugins.Ctx) (*plugins.Reply, error) {
	target, ok := c.Value(m).(string)
	if !ok {
		return nil, nil
	}
	c.SetValue(m, nil) // not again for another try
	body, err := c.Body(maxBody)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		m.sender.drop("body too long")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	host := c.UpstreamHost
	if host == "" {
		host = c.Req.Host
	}
	scheme := m.scheme
	if scheme == "grpc" || scheme == "grpcs" {
		target = uri.Encode(c.Path) // a method has one address
	}
	m.sender.send(&copied{
		method: strings.Clone(c.Req.Method), scheme: scheme, authority: m.authority, uri: strings.Clone(target),
		host: strings.Clone(host), header: header(c), body: body,
	})
	return nil, nil
}

func header(c *plugins.Ctx) http.Header {
	h := make(http.Header, c.Req.Header.Len()+1)
	h["User-Agent"] = []string{""} // none, unless the client has one
	for name, value := range c.Req.Header.All() {
		switch key := http.CanonicalHeaderKey(name); key {
		case "Content-Length", "Expect":
		case "User-Agent":
			h[key] = []string{strings.Clone(value)}
		default:
			key = strings.Clone(key)
			h[key] = append(h[key], strings.Clone(value))
		}
	}
	return h
}
