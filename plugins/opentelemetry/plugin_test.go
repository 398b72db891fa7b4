package opentelemetry

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unsafe"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "traceparent: 00-" + traceID + "-" + spanID + "-"
)

// collector keeps what is exported.
type collector struct {
	*httptest.Server
	header http.Header
	path   string
	sent   v1.ExportTraceServiceRequest
}

func collect(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		c.header, c.path = r.Header, r.URL.Path
		if err := proto.Unmarshal(b, &c.sent); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// span is the one that was exported, or nil.
func (c *collector) span() *tracepb.Span {
	if len(c.sent.ResourceSpans) == 0 {
		return nil
	}
	return c.sent.ResourceSpans[0].ScopeSpans[0].Spans[0]
}

func environment(c *collector, more string) *plugins.Env {
	env := plugintest.Env()
	env.Metadata = json.RawMessage(`{"collector":{"address":"` + c.Listener.Addr().String() + `","request_headers":{"X-Token":5}}` + more + `}`)
	return env
}

// run takes one request through an instance and closes it.
func run(t *testing.T, env *plugins.Env, conf string, status int, fields ...string) *plugins.Ctx {
	t.Helper()
	p, err := plugintest.Try(&Plugin, env, conf)
	if err != nil {
		t.Fatal(err)
	}
	c := plugintest.Request("GET", "/hello?a=1", fields...)
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1", Name: "r"}}
	c.Service = &resource.Service{Meta: resource.Meta{ID: "2", Name: "s"}}
	c.Matched.Path, c.ReplySource = "/hello", "upstream"
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	plugintest.Respond(c, status)
	p.Log(c)
	p.Close()
	if n := env.Shared.Len(); n != 0 {
		t.Errorf("%d shared values left", n)
	}
	return c
}

func TestSpan(t *testing.T) {
	col := collect(t)
	c := run(t, environment(col, `,"resource":{"service.name":"gw","n":1,"b":true},"set_ngx_var":true`),
		`{"sampler":{"name":"always_on"},"additional_attributes":["arg_a","arg_none"],"additional_header_prefix_attributes":["X-My-*","x-one"]}`,
		502, parent+"01", "User-Agent: curl", "X-My-A: 1", "X-One: 2", "X-One: 3", "X-Other: 4")
	s := col.span()
	if s == nil || col.path != "/v1/traces" || col.header.Get("X-Token") != "5" {
		t.Fatalf("%v %s %v", s, col.path, col.header)
	}
	if s.Name != "GET /hello" || s.Kind != tracepb.Span_SPAN_KIND_SERVER || s.Status.Message != "upstream error: 502" ||
		s.Status.Code != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("%v", s)
	}
	got := map[string]string{}
	for _, a := range s.Attributes {
		got[a.Key] = a.Value.GetStringValue()
		if a.Value.GetIntValue() == 502 {
			got[a.Key] = "502"
		}
	}
	for name, want := range map[string]string{"net.host.name": "example.com", "http.method": "GET", "http.target": "/hello?a=1",
		"url.path": "/hello", "http.user_agent": "curl", "apisix.route_id": "1", "apisix.route_name": "r", "http.route": "/hello",
		"apisix.service_id": "2", "apisix.service_name": "s", "apisix.response_source": "upstream", "http.status_code": "502",
		"http.response.status_code": "502", "arg_a": "1", "x-my-a": "1", "x-one": "2, 3"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if _, ok := got["arg_none"]; ok || got["x-other"] != "" {
		t.Errorf("%v", got)
	}
	if tp := c.Req.Header.Get("traceparent"); !strings.HasPrefix(tp, "00-"+traceID+"-") || strings.Contains(tp, spanID) ||
		c.Var("opentelemetry_context_traceparent") != tp || c.Var("opentelemetry_trace_id") != traceID {
		t.Errorf("traceparent %s", tp)
	}
}

func TestSampling(t *testing.T) {
	root := func(name string) string {
		return `{"sampler":{"name":"parent_base","options":{"root":{"name":"` + name + `"}}}}`
	}
	for name, test := range map[string]struct {
		conf, parent string
		want         bool
	}{
		"default":               {`{}`, parent + "01", false},
		"always":                {`{"sampler":{"name":"always_on"}}`, parent + "00", true},
		"ratio of all":          {`{"sampler":{"name":"trace_id_ratio","options":{"fraction":1}}}`, "a: b", true},
		"ratio of none":         {`{"sampler":{"name":"trace_id_ratio"}}`, "a: b", false},
		"parent says yes":       {root("always_off"), parent + "01", true},
		"parent says no":        {root("always_on"), parent + "00", false},
		"no parent":             {root("always_on"), "a: b", true},
		"no parent and no root": {`{"sampler":{"name":"parent_base"}}`, "a: b", false},
	} {
		t.Run(name, func(t *testing.T) {
			col := collect(t)
			c := run(t, environment(col, ""), test.conf, 200, test.parent)
			if (col.span() != nil) != test.want {
				t.Errorf("%v", col.span())
			}
			if tp := c.Req.Header.Get("traceparent"); strings.HasSuffix(tp, "-01") != test.want {
				t.Errorf("traceparent %s", tp)
			}
		})
	}
}

// TestTextsAreKept gives the memory of a request to the next one before its
// span is sent, as connections do.
func TestTextsAreKept(t *testing.T) {
	col := collect(t)
	p, err := plugintest.Try(&Plugin, environment(col, ""), `{"sampler":{"name":"always_on"},"additional_attributes":["http_a"]}`)
	if err != nil {
		t.Fatal(err)
	}
	memory := []byte("vendor=state PURGE agent 1")
	text := func(from, to int) string { return unsafe.String(&memory[from], to-from) }
	c := plugintest.Request(text(13, 18), "/", parent+"01")
	c.Req.Header.Add("tracestate", text(0, 12))
	c.Req.Header.Add("User-Agent", text(19, 24))
	c.Req.Header.Add("A", text(25, 26))
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	p.Log(c)
	for i := range memory {
		memory[i] = '?'
	}
	p.Close()
	s := col.span()
	if s.TraceState != "vendor=state" || s.Name != "PURGE" {
		t.Errorf("%v", s)
	}
	for _, a := range s.Attributes {
		if strings.Contains(a.Value.GetStringValue(), "?") {
			t.Errorf("%s is %q", a.Key, a.Value.GetStringValue())
		}
	}
}

func TestBatchLimits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{}`: 2 * time.Second, `{"batch_timeout":5}`: 5 * time.Second, `{"batch_timeout":5,"inactive_timeout":0.5}`: 500 * time.Millisecond,
		`{"batch_timeout":1e-12}`: minWait, `{"batch_timeout":1e300}`: maxWait, `{"inactive_timeout":-1}`: 2 * time.Second,
		`{"max_queue_size":9007199254740993,"max_export_batch_size":9007199254740993}`: 2 * time.Second,
	} {
		var md metadata
		if err := json.Unmarshal([]byte(`{"batch_span_processor":`+text+`}`), &md); err != nil {
			t.Fatal(err)
		}
		var o sdk.BatchSpanProcessorOptions
		for _, opt := range md.batch() {
			opt(&o)
		}
		if o.BatchTimeout != want || o.MaxQueueSize > maxQueue || o.MaxExportBatchSize < 1 || o.MaxExportBatchSize > maxQueue {
			t.Errorf("%s: %+v, want %s", text, o, want)
		}
	}
}

func TestTraceIDOfRequest(t *testing.T) {
	col := collect(t)
	const conf = `{"sampler":{"name":"always_off"}}`
	c := run(t, environment(col, `,"trace_id_source":"x-request-id"`), conf, 200, "X-Request-Id: "+strings.ToUpper(traceID))
	if tp := c.Req.Header.Get("traceparent"); !strings.HasPrefix(tp, "00-"+traceID+"-") {
		t.Error(tp)
	}
	c = run(t, environment(col, `,"trace_id_source":"x-request-id"`), conf, 200, "X-Request-Id: a-b-c")
	if tp := c.Req.Header.Get("traceparent"); len(tp) != 55 {
		t.Error(tp)
	}
}

// TestNothingToSendTo: requests go on, and the log says why there are no spans.
func TestNothingToSendTo(t *testing.T) {
	for metadata, want := range map[string]string{
		``:                                     "plugin_metadata is required for opentelemetry plugin",
		`{"collector":{"address":"a b:4318"}}`: `collector.address: uri \"http://a b:4318\" is no http or https address`,
		`{"collector":{"address":"grpc://a:4317"}}`: `collector.address: uri \"grpc://a:4317\" is no http or https address`,
	} {
		var text strings.Builder
		env := plugintest.Env()
		env.Log = slog.New(slog.NewJSONHandler(&text, nil))
		if metadata != "" {
			env.Metadata = json.RawMessage(metadata)
		}
		p, err := plugintest.Try(&Plugin, env, `{}`)
		if err != nil || p.Rewrite != nil || !strings.Contains(text.String(), want) {
			t.Errorf("%s: %v %s", metadata, err, text.String())
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"sampler":{"name":"x"}}`:                 `property "sampler" validation failed`,
		`{"additional_attributes":["post_arg.["]}`: "additional_attributes: ",
	} {
		col := collect(t)
		if _, err := plugintest.Try(&Plugin, environment(col, ""), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkSampled(b *testing.B) { benchmark(b, "always_on") }
func BenchmarkOff(b *testing.B)     { benchmark(b, "always_off") }

func benchmark(b *testing.B, sampler string) {
	env := plugintest.Env()
	env.Metadata = json.RawMessage(`{"collector":{"address":"127.0.0.1:1"}}`)
	p := plugintest.Build(b, &Plugin, env, `{"sampler":{"name":"`+sampler+`"}}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Rewrite(c); err != nil {
			b.Fatal(err)
		}
		p.Log(c)
	}
}
