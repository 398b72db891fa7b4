// Package zipkin reports spans of sampled requests to Zipkin, and carries the
// trace of the client on to the upstream in B3 header fields.
package zipkin

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/batch"
	"sluice/plugins/internal/httpout"
)

//go:embed schema.json
var schema string

// Plugin is zipkin.
var Plugin = plugins.Spec{
	Name:     "zipkin",
	Priority: 12011,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Endpoint    string  `json:"endpoint"`
	SampleRatio float64 `json:"sample_ratio"`
	ServiceName string  `json:"service_name"`
	ServerAddr  string  `json:"server_addr"`
	SpanVersion int     `json:"span_version"`
}

// attributes are plugin_attr.zipkin of config.yaml.
type attributes struct {
	SetNgxVar bool `json:"set_ngx_var"`
}

// sending is how spans are collected; nobody can configure it.
var sending = batch.Config{Name: "zipkin_report", BatchMaxSize: 1000, InactiveTimeout: 5, BufferDuration: 60, RetryDelay: 1}

// callTimeout bounds one report.
const callTimeout = 10 * time.Second

type tracer struct {
	*config
	queue   *batch.Queue
	setVars bool
	now     func() time.Time
	random  func() float64
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	var attr attributes
	if err := plugins.Decode(env.Attr, &attr); err != nil {
		return plugins.Phases{}, fmt.Errorf("plugin_attr.zipkin: %w", err)
	}
	client, closeClient := httpout.Open(env.Shared, httpout.Options{Timeout: callTimeout, Verify: true, IdleTimeout: 5 * time.Second})
	queue, closeQueue, err := batch.Open(env, &sending, c, c.sender(client))
	if err != nil {
		closeClient()
		return plugins.Phases{}, err
	}
	t := &tracer{c, queue, attr.SetNgxVar, env.Now, rand.Float64}
	return plugins.Phases{
		Rewrite: t.rewrite, Access: t.access, HeaderFilter: t.headerFilter, Log: t.log,
		Close: func() { closeQueue(); closeClient() },
	}, nil
}

func (c *config) sender(client *httpout.Client) batch.Send {
	header := http.Header{"Content-Type": {"application/json"}}
	place := "" // the endpoint without what may be a secret
	if u, err := url.Parse(c.Endpoint); err == nil {
		u.User, u.RawQuery = nil, ""
		place = u.String()
	}
	return func(ctx context.Context, spans [][]byte) error {
		a, err := client.Do(ctx, http.MethodPost, c.Endpoint, header, sending.JSON(spans))
		if err != nil {
			return err
		}
		if a.Status < 200 || a.Status >= 300 {
			return fmt.Errorf("failed: %s %d", place, a.Status)
		}
		return nil
	}
}

// trace is one request's: its place in the trace, and the times of its spans.
type trace struct {
	id                     string
	request, parent, proxy string // span ids; parent may be ""
	sampled                bool
	rewritten, accessed    time.Time
	answered               time.Time
}

func (t *tracer) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	w, err := extract(c)
	if err != nil {
		c.Log().Error("invalid b3 header", "err", err)
		return plugins.Exit(400, nil), nil
	}
	n := 2
	if w.trace == "" {
		n = 4
	}
	fresh := newIDs(n)
	s := &trace{id: w.trace, parent: w.span, request: fresh[:16]}
	if s.id == "" {
		s.id = fresh[32:]
	}
	switch {
	case w.sampled == "1" || w.sampled == "true":
		s.sampled = true
	case w.sampled == "0" || w.sampled == "false":
	default:
		s.sampled = w.debug || t.random() < t.SampleRatio
	}
	if s.sampled {
		s.proxy = fresh[16:32]
	}
	s.rewritten = t.now()
	c.SetValue(t, s)
	if t.setVars {
		flag := "00"
		if s.sampled {
			flag = "01"
		}
		c.SetVar("zipkin_context_traceparent", "00-"+s.id+"-"+s.request+"-"+flag)
		c.SetVar("zipkin_trace_id", s.id)
		c.SetVar("zipkin_span_id", s.request)
	}
	return nil, nil
}

// access tells the upstream; what it does is part of the proxy span.
func (t *tracer) access(c *plugins.Ctx) (*plugins.Reply, error) {
	s, _ := c.Value(t).(*trace)
	if s == nil {
		return nil, nil
	}
	s.accessed = t.now()
	s.inject(&c.Req.Header)
	return nil, nil
}

func (t *tracer) headerFilter(c *plugins.Ctx) error {
	if s, _ := c.Value(t).(*trace); s != nil {
		s.answered = t.now()
	}
	return nil
}

func (t *tracer) log(c *plugins.Ctx) {
	s, _ := c.Value(t).(*trace)
	if s == nil || !s.sampled {
		return
	}
	end := t.now()
	if s.answered.IsZero() {
		s.answered = end
	}
	if t.SpanVersion == 1 {
		t.report(c, s, span{name: "apisix.rewrite", id: newIDs(1), parent: s.request, from: c.Start, to: s.rewritten})
		if !s.accessed.IsZero() {
			t.report(c, s, span{name: "apisix.access", id: newIDs(1), parent: s.request, from: s.rewritten, to: s.accessed})
			t.report(c, s, span{name: "apisix.body_filter", id: newIDs(1), parent: s.proxy, from: s.answered, to: end})
			t.report(c, s, span{name: "apisix.proxy", id: s.proxy, parent: s.request, from: s.accessed, to: end})
		}
	} else {
		t.report(c, s, span{name: "apisix.proxy", id: s.proxy, parent: s.request, from: c.Start, to: s.answered})
		t.report(c, s, span{name: "apisix.response_span", id: newIDs(1), parent: s.request, from: s.answered, to: end})
	}
	t.report(c, s, span{name: "apisix.request", id: s.request, parent: s.parent, from: c.Start, to: end, server: true})
}
