// Package forwardauth asks a service whether a request may go on.
package forwardauth

import (
	"bytes"
	_ "embed"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
	"sluice/plugins/internal/httpout"
)

//go:embed schema.json
var schema string

// Plugin is forward-auth.
var Plugin = plugins.Spec{
	Name:     "forward-auth",
	Priority: 2002,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	URI              string            `json:"uri"`
	AllowDegradation bool              `json:"allow_degradation"`
	StatusOnError    int               `json:"status_on_error"`
	SSLVerify        bool              `json:"ssl_verify"`
	RequestMethod    string            `json:"request_method"`
	MaxReqBodySize   int64             `json:"max_req_body_size"`
	RequestHeaders   []string          `json:"request_headers"`
	ExtraHeaders     map[string]string `json:"extra_headers"`
	UpstreamHeaders  []string          `json:"upstream_headers"`
	ClientHeaders    []string          `json:"client_headers"`
	Timeout          int64             `json:"timeout"`
	KeepAlive        bool              `json:"keepalive"`
	KeepAliveTimeout int64             `json:"keepalive_timeout"`
	KeepAlivePool    int               `json:"keepalive_pool"`
}

// maxAnswer is as much of the service's answer as is handed on, in bytes.
const maxAnswer = 1 << 20

type auth struct {
	config
	client *httpout.Client
	fields []field // that the gateway sends
	copied []string
}

// field is one that is made anew for each request.
type field struct {
	name  string
	value func(*plugins.Ctx) string
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	a := &auth{config: *c}
	if err := httpout.CheckAddress(c.URI); err != nil {
		return plugins.Phases{}, err
	}
	if err := a.prepare(); err != nil {
		return plugins.Phases{}, err
	}
	client, release := httpout.Open(env.Shared, httpout.Options{
		Timeout:     time.Duration(c.Timeout) * time.Millisecond,
		Verify:      c.SSLVerify,
		Idle:        c.KeepAlivePool,
		IdleTimeout: time.Duration(c.KeepAliveTimeout) * time.Millisecond,
		NoKeepalive: !c.KeepAlive,
		MaxBody:     maxAnswer,
	})
	a.client = client
	return plugins.Phases{Access: a.access, Close: release}, nil
}

// prepare settles what is sent: the gateway's fields, then those of extra_headers
// over them, then those of the client that no other has taken the name of.
func (a *auth) prepare() error {
	add := func(name string, value func(*plugins.Ctx) string) {
		a.fields = slices.DeleteFunc(a.fields, func(f field) bool { return strings.EqualFold(f.name, name) })
		a.fields = append(a.fields, field{name, value})
	}
	for _, f := range [...]struct{ name, variable string }{
		{"X-Forwarded-Proto", "scheme"}, {"X-Forwarded-Method", "request_method"}, {"X-Forwarded-Host", "host"},
		{"X-Forwarded-Uri", "request_uri"}, {"X-Forwarded-For", "remote_addr"},
	} {
		get := plugins.Variable(f.variable)
		add(f.name, func(c *plugins.Ctx) string { v, _ := get(c); return v })
	}
	for _, name := range slices.Sorted(maps.Keys(a.ExtraHeaders)) {
		t, err := plugins.ParseTemplate(a.ExtraHeaders[name])
		if err != nil {
			return err
		}
		if !httpout.Frames(name) {
			add(name, t.Render)
		}
	}
	for _, name := range a.RequestHeaders {
		same := func(other string) bool { return strings.EqualFold(other, name) }
		taken := slices.ContainsFunc(a.fields, func(f field) bool { return same(f.name) }) || slices.ContainsFunc(a.copied, same)
		if !taken && !httpout.Frames(name) {
			a.copied = append(a.copied, name)
		}
	}
	return nil
}

func (a *auth) access(c *plugins.Ctx) (*plugins.Reply, error) {
	header, rep := a.header(c)
	if rep != nil {
		return rep, nil
	}
	body, rep, err := a.body(c)
	if rep != nil || err != nil {
		return rep, err
	}
	c.Leave()
	answer, err := a.client.Do(c, a.RequestMethod, a.URI, header, body)
	if err != nil {
		c.Log().Warn("failed to process forward auth", "err", err)
		if !a.AllowDegradation {
			return plugins.Exit(a.StatusOnError, nil), nil
		}
		answer = &httpout.Answer{Status: http.StatusOK} // which says nothing about the client
	}
	if answer.Status >= 300 {
		return a.refuse(answer), nil
	}
	a.tell(c, answer.Header)
	return nil, nil
}

// header is that of the call for c. All of it is copied: the call may end before
// everything is sent.
func (a *auth) header(c *plugins.Ctx) (http.Header, *plugins.Reply) {
	h := make(http.Header, len(a.fields)+len(a.copied)+1)
	for _, f := range a.fields {
		value := strings.Clone(f.value(c))
		if !httpout.ValidField(f.name, value) {
			// The client made it so: no degradation.
			c.Log().Warn("failed to process forward auth", "err", "invalid characters found in header "+f.name)
			return nil, plugins.Exit(a.StatusOnError, nil)
		}
		h[f.name] = []string{value}
	}
	for _, name := range a.copied {
		copyField(c, h, name)
	}
	if a.RequestMethod == http.MethodPost {
		copyField(c, h, "Content-Encoding")
	}
	return h, nil
}

// copyField takes over every field of that name, so that the service decides on
// all that the upstream will see.
func copyField(c *plugins.Ctx, h http.Header, name string) {
	if strings.EqualFold(name, "Host") {
		h["Host"] = []string{strings.Clone(c.Req.Host)}
		return
	}
	for _, value := range c.Req.Header.Values(name) {
		h[name] = append(h[name], strings.Clone(value))
	}
}

// body is that of the call, or what to answer when it is too long.
func (a *auth) body(c *plugins.Ctx) ([]byte, *plugins.Reply, error) {
	if a.RequestMethod != http.MethodPost {
		return nil, nil, nil
	}
	body, err := c.Body(a.MaxReqBodySize)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		c.Log().Warn("failed to process forward auth", "err", err)
		return nil, plugins.Exit(http.StatusRequestEntityTooLarge, nil), nil
	}
	return bytes.Clone(body), nil, err
}

// refuse is the service's answer for the client.
func (a *auth) refuse(answer *httpout.Answer) *plugins.Reply {
	rep := plugins.Exit(answer.Status, answer.Body)
	if answer.Cut {
		rep.Body = "" // half of it could mean something else
	}
	for _, name := range a.ClientHeaders {
		if httpout.Frames(name) {
			continue
		}
		for _, value := range answer.Header.Values(name) {
			rep.Header.Add(name, value)
		}
	}
	return rep
}

// tell hands the fields of the service's answer to the upstream. Those that the
// answer lacks are removed, in every spelling: nobody but the service may speak
// in them.
func (a *auth) tell(c *plugins.Ctx, from http.Header) {
	for _, name := range a.UpstreamHeaders {
		if httpout.Frames(name) {
			continue
		}
		consumer.Drop(&c.Req.Header, name)
		for _, value := range from.Values(name) {
			c.Req.Header.Add(name, value)
		}
	}
}
