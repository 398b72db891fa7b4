// Package logentry makes the entries of plugins that log requests: the usual
// one, or one in a log_format. All that a configuration says is resolved once.
//
// It does not know where an entry goes.
package logentry

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router/expr"
)

// Format is how the configuration and the metadata of a logger shape its entries.
type Format struct {
	LogFormat      map[string]any `json:"log_format"`
	LogFormatExtra map[string]any `json:"log_format_extra"`
}

// Bodies is what the configuration of a logger says of bodies.
type Bodies struct {
	IncludeReqBody      bool            `json:"include_req_body"`
	IncludeReqBodyExpr  json.RawMessage `json:"include_req_body_expr"`
	IncludeRespBody     bool            `json:"include_resp_body"`
	IncludeRespBodyExpr json.RawMessage `json:"include_resp_body_expr"`
	MaxReqBodyBytes     int             `json:"max_req_body_bytes"`
	MaxRespBodyBytes    int             `json:"max_resp_body_bytes"`
}

// Options are both.
type Options struct {
	Format
	Bodies
}

// program is a compiled expression.
type program = expr.Program[*plugins.Ctx]

// Log makes the entries of one instance. Immutable.
type Log struct {
	// Custom says that the entries are in a log_format.
	Custom bool
	// Unmatched is the route_id of a request that no route took; "": there is none.
	Unmatched string

	fields, extra []field
	now           func() time.Time

	wantRequest             bool // the body of the request is part of the usual entry
	readsRequest            bool
	wantResponse            bool
	requestExpr             *program
	responseExpr            *program
	maxRequest, maxResponse int
	upstream                plugins.Appender
	sent, length            plugins.Appender
}

// DefaultMaxBody is how much of a body is logged unless configured, in bytes.
const DefaultMaxBody = 512 << 10

// New compiles o; what the metadata in env says of formats stands in where o
// has nothing.
func New(o *Options, env *plugins.Env) (*Log, error) {
	var meta Format
	if err := plugins.Decode(env.Metadata, &meta); err != nil {
		return nil, err
	}
	l := &Log{
		now: env.Now, wantRequest: o.IncludeReqBody, wantResponse: o.IncludeRespBody,
		maxRequest: o.MaxReqBodyBytes, maxResponse: o.MaxRespBodyBytes,
		upstream: plugins.VariableAppender("upstream_addr"),
		sent:     plugins.VariableAppender("bytes_sent"), length: plugins.VariableAppender("request_length"),
	}
	if l.maxRequest <= 0 {
		l.maxRequest = DefaultMaxBody
	}
	if l.maxResponse <= 0 {
		l.maxResponse = DefaultMaxBody
	}
	if err := l.formats(&o.Format, &meta, env); err != nil {
		return nil, err
	}
	var err error
	if l.requestExpr, err = condition("include_req_body_expr", o.IncludeReqBodyExpr); err != nil {
		return nil, err
	}
	l.responseExpr, err = condition("include_resp_body_expr", o.IncludeRespBodyExpr)
	return l, err
}

// formats chooses and compiles. An empty log_format counts in the
// configuration, where somebody wrote it for this place, and not in the metadata.
func (l *Log) formats(own, meta *Format, env *plugins.Env) error {
	format, extra := own.LogFormat, own.LogFormatExtra
	if format == nil && len(meta.LogFormat) > 0 {
		format = meta.LogFormat
	}
	if extra == nil {
		extra = meta.LogFormatExtra
	}
	var body, more bool
	var err error
	if format != nil {
		l.Custom = true
		if l.fields, body, err = compile(format, 1, env); err != nil {
			return fmt.Errorf("log_format: %w", err)
		}
	} else if l.extra, more, err = compile(extra, 1, env); err != nil {
		return fmt.Errorf("log_format_extra: %w", err)
	}
	l.readsRequest = body || more || l.wantRequest
	return nil
}

func condition(name string, text json.RawMessage) (*program, error) {
	if text == nil {
		return nil, nil
	}
	p, err := expr.Compile(text, plugins.ExprValue)
	if err != nil {
		return nil, fmt.Errorf("failed to validate the '%s' expression: %w", name, err)
	}
	return p, nil
}

// Extra are the names of the members that log_format_extra adds.
func (l *Log) Extra() []string {
	names := make([]string, len(l.extra))
	for i := range l.extra {
		names[i] = l.extra[i].key
	}
	return names
}

// Access is the access phase of the plugin: nil when no entry has the request's body.
func (l *Log) Access() func(*plugins.Ctx) (*plugins.Reply, error) {
	if !l.readsRequest {
		return nil
	}
	return l.readRequest
}

// BodyFilter is the body filter of the plugin: nil when no entry has the response's body.
func (l *Log) BodyFilter() plugins.BodyFunc {
	if !l.wantResponse {
		return nil
	}
	return l.readResponse
}

// buffers are where entries are made before they are copied to their size.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

const maxKept = 64 << 10

// Entry is the entry of a request that has ended, as a JSON object of its own memory.
func (l *Log) Entry(c *plugins.Ctx) []byte {
	p := buffers.Get().(*[]byte)
	b := l.Append((*p)[:0], c)
	out := make([]byte, len(b))
	copy(out, b)
	if cap(b) <= maxKept {
		*p = b
	}
	buffers.Put(p)
	return out
}

// Append is Entry behind dst.
func (l *Log) Append(dst []byte, c *plugins.Ctx) []byte {
	o := object{b: dst}
	o.open()
	if l.Custom {
		l.custom(&o, c)
	} else {
		l.usual(&o, c)
	}
	l.model(&o, c)
	o.close()
	return o.b
}

func (l *Log) custom(o *object, c *plugins.Ctx) {
	if c.Route == nil {
		if l.Unmatched != "" && !slices.ContainsFunc(l.fields, func(f field) bool { return f.key == "route_id" }) {
			o.text("route_id", l.Unmatched)
		}
		l.write(o, c, l.fields, nil)
		return
	}
	l.write(o, c, l.fields, ids)
	o.text("route_id", string(c.Route.ID))
	if id := string(c.Route.ServiceID); id != "" {
		o.text("service_id", id)
	}
}

func ids(key string) bool { return key == "route_id" || key == "service_id" }

// Model is what the plugins for language models leave for the log.
type Model struct {
	Summary, Request json.RawMessage
	Text             string
}

type modelKey struct{}

// SetModel adds to the entries of a request.
func SetModel(c *plugins.Ctx, m *Model) { c.SetValue(modelKey{}, m) }

func (l *Log) model(o *object, c *plugins.Ctx) {
	m, _ := c.Value(modelKey{}).(*Model)
	if m == nil {
		return
	}
	if m.Summary != nil {
		o.member("llm_summary")
		o.b = append(o.b, m.Summary...)
	}
	if m.Request != nil {
		o.member("llm_request")
		o.b = append(o.b, m.Request...)
	}
	if m.Text != "" {
		o.text("llm_response_text", m.Text)
	}
}

// version is what entries call the server's.
const version = "3.18.0"

var hostname = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
})

// usual writes the entry without a format.
func (l *Log) usual(o *object, c *plugins.Ctx) {
	l.request(o, c)
	l.response(o, c)
	o.member("server")
	o.open()
	o.text("hostname", hostname())
	o.text("version", version)
	o.close()
	if len(c.Tries) > 0 {
		o.member("upstream")
		o.b = append(o.b, '"')
		o.b, _ = l.upstream(c, o.b)
		o.b = append(o.b, '"')
	}
	if c.Route != nil {
		o.text("service_id", string(c.Route.ServiceID))
		o.text("route_id", string(c.Route.ID))
	} else {
		o.text("service_id", c.Var("host"))
		if l.Unmatched != "" {
			o.text("route_id", l.Unmatched)
		}
	}
	if c.Consumer != nil && c.Consumer.Def != nil {
		o.member("consumer")
		o.open()
		o.text("username", c.Consumer.Def.Username)
		o.close()
	}
	o.text("client_ip", c.Var("remote_addr"))
	o.member("start_time")
	o.b = strconv.AppendInt(o.b, c.Start.UnixMilli(), 10)
	l.latencies(o, c)
	if len(l.extra) > 0 {
		l.write(o, c, l.extra, func(key string) bool { return l.has(c, key) })
	}
}

// has says whether the usual entry has that member.
func (l *Log) has(c *plugins.Ctx, key string) bool {
	switch key {
	case "request", "response", "server", "service_id", "client_ip", "start_time", "latency", "apisix_latency":
		return true
	case "upstream", "upstream_latency":
		return len(c.Tries) > 0
	case "route_id":
		return c.Route != nil || l.Unmatched != ""
	case "consumer":
		return c.Consumer != nil && c.Consumer.Def != nil
	}
	return false
}

func (l *Log) request(o *object, c *plugins.Ctx) {
	uri := c.Var("request_uri")
	o.member("request")
	o.open()
	o.text("url", c.Var("scheme")+"://"+c.Var("host")+":"+c.Var("server_port")+uri)
	o.text("uri", uri)
	o.text("method", c.Req.Method)
	o.member("headers")
	headers(o, &c.Req.Header, c.Req.Host)
	o.member("querystring")
	query(o, c.Query)
	o.member("size")
	o.b = append(o.b, '"')
	o.b, _ = l.length(c, o.b)
	o.b = append(o.b, '"')
	if l.wantRequest && (l.requestExpr == nil || l.requestExpr.Eval(c)) {
		if b := l.requestBody(c); len(b) > 0 {
			o.member("body")
			o.b = AppendString(o.b, b)
		}
	}
	o.close()
}

func (l *Log) response(o *object, c *plugins.Ctx) {
	o.member("response")
	o.open()
	o.member("status")
	var none wire.Header
	h, status := &none, 0
	if c.Resp != nil {
		h, status = &c.Resp.Header, c.Resp.Status
	}
	o.b = strconv.AppendInt(o.b, int64(status), 10)
	o.member("headers")
	headers(o, h, "")
	o.member("size")
	o.b = append(o.b, '"')
	o.b, _ = l.sent(c, o.b)
	o.b = append(o.b, '"')
	if l.wantResponse {
		if kept, _ := c.Value(l).(*bodies); kept != nil && kept.done {
			o.member("body")
			o.b = AppendString(o.b, kept.response)
		}
	}
	o.close()
}

// latencies are the whole time, the upstream's and the gateway's part of it.
func (l *Log) latencies(o *object, c *plugins.Ctx) {
	all := l.now().Sub(c.Start)
	own := all
	if len(c.Tries) > 0 {
		up := UpstreamTime(c)
		own = all - up
		o.member("upstream_latency")
		o.b = AppendMillis(o.b, up)
	}
	o.member("latency")
	o.b = AppendMillis(o.b, all)
	o.member("apisix_latency")
	o.b = AppendMillis(o.b, own)
}

// UpstreamTime is the time that the tries at upstream nodes took.
func UpstreamTime(c *plugins.Ctx) time.Duration {
	var d time.Duration
	for i := range c.Tries {
		d += c.Tries[i].Total
	}
	return d
}
