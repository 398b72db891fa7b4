// Package opentelemetry reports a span of each sampled request over OTLP, and
// carries the trace of the client on to the upstream in W3C's header fields.
package opentelemetry

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sluice/gateway/wire"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is opentelemetry.
var Plugin = plugins.Spec{
	Name:     "opentelemetry",
	Priority: 12009,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	Sampler                          sampler  `json:"sampler"`
	AdditionalAttributes             []string `json:"additional_attributes"`
	AdditionalHeaderPrefixAttributes []string `json:"additional_header_prefix_attributes"`
}

type sampler struct {
	Name    string `json:"name"`
	Options struct {
		Fraction float64  `json:"fraction"`
		Root     *sampler `json:"root"`
	} `json:"options"`
}

// compile makes the sampler; without a root nothing is sampled that the client did not.
func (s *sampler) compile() sdk.Sampler {
	switch {
	case s == nil:
		return sdk.NeverSample()
	case s.Name == "always_on":
		return sdk.AlwaysSample()
	case s.Name == "trace_id_ratio":
		return sdk.TraceIDRatioBased(s.Options.Fraction)
	case s.Name == "parent_base":
		return sdk.ParentBased(s.Options.Root.compile())
	}
	return sdk.NeverSample()
}

type tracer struct {
	trace   trace.Tracer
	setVars bool
	now     func() time.Time
	extra   []variable
	headers []string // in lower case; those ending in "*" are prefixes
}

// variable is an additional attribute.
type variable struct {
	key attribute.Key
	get plugins.Getter
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	if env.Metadata == nil {
		if !env.Check {
			env.Log.Warn("plugin_metadata is required for opentelemetry plugin to working properly")
		}
		return plugins.Phases{}, nil
	}
	var md metadata
	if err := plugins.Decode(env.Metadata, &md); err != nil {
		return plugins.Phases{}, err
	}
	t := &tracer{setVars: md.SetNgxVar, now: env.Now}
	for _, name := range c.AdditionalAttributes {
		if err := plugins.CheckVariable(name); err != nil {
			return plugins.Phases{}, fmt.Errorf("additional_attributes: %w", err)
		}
		t.extra = append(t.extra, variable{attribute.Key(name), plugins.Variable(name)})
	}
	for _, name := range c.AdditionalHeaderPrefixAttributes {
		t.headers = append(t.headers, strings.ToLower(name))
	}
	if env.Check {
		return plugins.Phases{}, nil
	}
	processor, release, err := openProcessor(env, &md)
	if err != nil {
		// Metadata is checked against its schema only: no route is to stop for it.
		env.Log.Error("no spans are reported", "err", err)
		return plugins.Phases{}, nil
	}
	t.trace = md.provider(processor, c.Sampler.compile()).Tracer("sluice")
	return plugins.Phases{Rewrite: t.rewrite, Log: t.log, Close: release}, nil
}

// fields carries W3C's header fields.
type fields struct{ h *wire.Header }

func (f fields) Get(key string) string {
	if key == "tracestate" {
		return strings.Clone(f.h.Get(key)) // the span keeps it
	}
	return f.h.Get(key)
}

func (f fields) Set(key, value string) { f.h.Set(key, value) }
func (f fields) Keys() []string        { return nil } // of no use to this format

func (t *tracer) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	w3c := propagation.TraceContext{}
	ctx := w3c.Extract(context.WithValue(c.Context, requestKey{}, c), fields{&c.Req.Header})
	name := strings.Clone(c.Req.Method)
	if c.Matched.Path != "" {
		name += " " + c.Matched.Path
	}
	ctx, span := t.trace.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.Start))
	if span.IsRecording() {
		span.SetAttributes(known(c)...)
	}
	c.SetValue(t, span)
	w3c.Inject(ctx, fields{&c.Req.Header})
	if t.setVars {
		s := span.SpanContext()
		c.SetVar("opentelemetry_context_traceparent", c.Req.Header.Get("traceparent"))
		c.SetVar("opentelemetry_trace_id", s.TraceID().String())
		c.SetVar("opentelemetry_span_id", s.SpanID().String())
	}
	return nil, nil
}

// known are the attributes of a request that has come. Spans live longer than
// requests: texts of the request are copied.
func known(c *plugins.Ctx) []attribute.KeyValue {
	method, scheme, target := strings.Clone(c.Req.Method), c.Var("scheme"), strings.Clone(c.Var("request_uri"))
	list := []attribute.KeyValue{
		attribute.String("net.host.name", strings.Clone(c.Var("host"))),
		attribute.String("http.method", method),
		attribute.String("http.scheme", scheme),
		attribute.String("http.target", target),
		attribute.String("http.request.method", method),
		attribute.String("url.scheme", scheme),
		attribute.String("url.path", strings.Clone(c.Path)),
	}
	if agent, ok := c.Req.Header.Lookup("User-Agent"); ok {
		agent = strings.Clone(agent)
		list = append(list, attribute.String("http.user_agent", agent), attribute.String("user_agent.original", agent))
	}
	if c.Route != nil {
		list = append(list, attribute.String("apisix.route_id", string(c.Route.ID)),
			attribute.String("apisix.route_name", c.Route.Name), attribute.String("http.route", c.Matched.Path))
	}
	if c.Service != nil {
		list = append(list, attribute.String("apisix.service_id", string(c.Service.ID)),
			attribute.String("apisix.service_name", c.Service.Name))
	}
	return list
}

func (t *tracer) log(c *plugins.Ctx) {
	span, _ := c.Value(t).(trace.Span)
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(attribute.String("apisix.response_source", c.ReplySource))
		if c.Resp != nil {
			status := c.Resp.Status
			span.SetAttributes(attribute.Int("http.status_code", status), attribute.Int("http.response.status_code", status))
			if status >= 500 {
				span.SetStatus(codes.Error, fmt.Sprintf("%s error: %d", c.ReplySource, status))
			}
		}
		for _, v := range t.extra {
			if value, ok := v.get(c); ok {
				span.SetAttributes(v.key.String(strings.Clone(value)))
			}
		}
		t.addHeaders(c, span)
	}
	span.End(trace.WithTimestamp(t.now()))
}

func (t *tracer) addHeaders(c *plugins.Ctx, span trace.Span) {
	for _, want := range t.headers {
		prefix, isPrefix := strings.CutSuffix(want, "*")
		isPrefix = isPrefix && prefix != ""
		for name := range c.Req.Header.All() {
			name = strings.ToLower(name)
			if name == want || isPrefix && strings.HasPrefix(name, prefix) {
				span.SetAttributes(attribute.String(strings.Clone(name), strings.Clone(strings.Join(c.Req.Header.Values(name), ", "))))
			}
		}
	}
}
