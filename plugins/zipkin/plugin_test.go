package zipkin

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "80f198ee56343ba864fe8b2a57d3eff7"
	spanID  = "e457b5a2e4d86bd1"
	parent  = "05e3ac9a4f6e3b90"
)

func made(t *testing.T, ratio string) plugins.Phases {
	return plugintest.Build(t, &Plugin, plugintest.Env(), `{"endpoint":"http://127.0.0.1:1/","sample_ratio":`+ratio+`}`)
}

func TestHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		fields  []string
		ratio   string
		trace   string // "": a new one
		sampled string
		parent  string // of what the upstream gets; "*": any
		flags   string
	}{
		"new":               {nil, "1", "", "1", "*", ""},
		"new, not sampled":  {nil, "0.00001", "", "0", "", ""},
		"single":            {[]string{"b3: " + traceID + "-" + spanID + "-1-" + parent}, "0.00001", traceID, "1", "*", ""},
		"single, off":       {[]string{"b3: " + traceID + "-" + spanID + "-0-" + parent}, "1", traceID, "0", spanID, ""},
		"single, only off":  {[]string{"b3: 0"}, "1", "", "0", "", ""},
		"single, debug":     {[]string{"b3: " + traceID + "-" + spanID + "-d"}, "0.00001", traceID, "1", "*", "1"},
		"single, undecided": {[]string{"b3: " + traceID + "-" + spanID}, "1", traceID, "1", "*", ""},
		"several":           {[]string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: " + spanID, "X-B3-Sampled: 0"}, "1", traceID, "0", spanID, ""},
		"several, short":    {[]string{"X-B3-TraceId: " + spanID, "X-B3-SpanId: " + spanID, "X-B3-Sampled: true"}, "0.00001", spanID, "1", "*", ""},
		"flags":             {[]string{"X-B3-Flags: 1"}, "0.00001", "", "1", "*", "1"},
		"bad trace":         {[]string{"X-B3-TraceId: xyz", "X-B3-SpanId: " + spanID, "X-B3-Sampled: 0", "X-B3-ParentSpanId: " + parent}, "1", "", "0", "", ""},
		"bad span":          {[]string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: zz57b5a2e4d86bd1", "X-B3-Sampled: 0"}, "1", "", "0", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := made(t, test.ratio)
			c := plugintest.Request("GET", "/", test.fields...)
			if r, err := p.Rewrite(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			h := &c.Req.Header
			if h.Has("b3") || h.Get("X-B3-Sampled") != test.sampled || h.Get("X-B3-Flags") != test.flags {
				t.Errorf("%v", h)
			}
			if got := h.Get("X-B3-TraceId"); test.trace != "" && got != test.trace || !isID(got, 16, 32) || got == traceID && test.trace == "" {
				t.Errorf("trace %q", got)
			}
			if got := h.Get("X-B3-ParentSpanId"); got != test.parent && (test.parent != "*" || !isID(got, 16, 16)) {
				t.Errorf("parent %q", got)
			}
			if got := h.Get("X-B3-SpanId"); !isID(got, 16, 16) || got == spanID {
				t.Errorf("span %q", got)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	for _, b3 := range []string{"1", "d", traceID, ""} {
		r, err := made(t, "1").Rewrite(plugintest.Request("GET", "/", "b3: "+b3))
		if r == nil || r.Status != 400 || err != nil {
			t.Errorf("%q: %v, %v", b3, r, err)
		}
	}
}

func TestVariables(t *testing.T) {
	env := plugintest.Env()
	env.Attr = json.RawMessage(`{"set_ngx_var":true}`)
	p := plugintest.Build(t, &Plugin, env, `{"endpoint":"http://127.0.0.1:1/","sample_ratio":1}`)
	c := plugintest.Request("GET", "/")
	if _, err := p.Rewrite(c); err != nil {
		t.Fatal(err)
	}
	if got := c.Var("zipkin_context_traceparent"); got != "00-"+c.Var("zipkin_trace_id")+"-"+c.Var("zipkin_span_id")+"-01" {
		t.Error(got)
	}
}

// reported is a span as Zipkin gets it.
type reported struct {
	TraceID, Name, ParentID, ID, Kind string
	Timestamp, Duration               int64
	LocalEndpoint, RemoteEndpoint     *struct {
		ServiceName, IPv4, IPv6 string
		Port                    int
	}
	Tags map[string]string
}

// spans runs one request and returns what is reported of it, by name.
func spans(t *testing.T, conf string, fields ...string) map[string]reported {
	t.Helper()
	var got []reported
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &got); err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, b, err)
		}
	}))
	defer s.Close()
	env := plugintest.Env()
	now := time.Unix(1000, 0)
	env.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
	p, err := plugintest.Try(&Plugin, env, `{"endpoint":"`+s.URL+`/api","sample_ratio":1`+conf+`}`)
	if err != nil {
		t.Fatal(err)
	}
	c := plugintest.Request("GET", "/a?b", fields...)
	c.Start, c.ReplySource = now, "upstream"
	if _, err := p.Rewrite(c); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Access(c); err != nil {
		t.Fatal(err)
	}
	plugintest.Respond(c, 201)
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	p.Log(c)
	p.Close()
	byName := map[string]reported{}
	for _, sp := range got {
		byName[sp.Name] = sp
	}
	return byName
}

func TestReport(t *testing.T) {
	got := spans(t, `,"server_addr":"1.2.3.4"`, "b3: "+traceID+"-"+spanID+"-1")
	root, proxy, answer := got["apisix.request"], got["apisix.proxy"], got["apisix.response_span"]
	if len(got) != 3 || root.TraceID != traceID || root.ParentID != spanID || root.Kind != "SERVER" ||
		root.Timestamp != 1000_000_000 || root.Duration != 4000 {
		t.Errorf("%+v", root)
	}
	if e := root.LocalEndpoint; e.ServiceName != "APISIX" || e.IPv4 != "1.2.3.4" || e.Port != 9080 {
		t.Errorf("%+v", e)
	}
	if e := root.RemoteEndpoint; e.IPv4 != "127.0.0.1" || e.Port != 5000 {
		t.Errorf("%+v", e)
	}
	for name, want := range map[string]string{"component": "apisix", "http.method": "GET", "http.url": "/a?b",
		"http.status_code": "201", "apisix.response_source": "upstream"} {
		if root.Tags[name] != want {
			t.Errorf("tag %s is %q", name, root.Tags[name])
		}
	}
	if proxy.ParentID != root.ID || proxy.Timestamp != root.Timestamp || proxy.Duration != 3000 || proxy.RemoteEndpoint != nil {
		t.Errorf("%+v", proxy)
	}
	if answer.ParentID != root.ID || answer.Duration != 1000 {
		t.Errorf("%+v", answer)
	}
}

func TestReportVersion1(t *testing.T) {
	got := spans(t, `,"span_version":1`)
	root, proxy := got["apisix.request"], got["apisix.proxy"]
	if len(got) != 5 || root.ParentID != "" || proxy.ParentID != root.ID || got["apisix.body_filter"].ParentID != proxy.ID ||
		got["apisix.rewrite"].ParentID != root.ID || got["apisix.access"].ParentID != root.ID {
		t.Errorf("%+v", got)
	}
}

func TestNotSampled(t *testing.T) {
	if got := spans(t, "", "X-B3-Sampled: 0"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestFailure: services behind the protocol take their key in the query.
func TestFailure(t *testing.T) {
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	sink := plugintest.NewSink(t, plugintest.Failing)
	p, err := plugintest.Try(&Plugin, env, `{"sample_ratio":1,"endpoint":"`+strings.Replace(sink.URL, "//", "//user:canary@", 1)+`/api?Api-Key=canary"}`)
	if err != nil {
		t.Fatal(err)
	}
	c := plugintest.Request("GET", "/")
	if _, err := p.Rewrite(c); err != nil {
		t.Fatal(err)
	}
	p.Log(c)
	p.Close()
	if want := "failed: " + sink.URL + "/api 500"; !strings.Contains(text.String(), want) || strings.Contains(text.String(), "canary") {
		t.Errorf("the log is %s, want %s", &text, want)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"sample_ratio":1}`: `property "endpoint" is required`,
		`{"endpoint":"http://127.0.0.1","sample_ratio":-1}`:                      "expected -1 to be at least 1e-05",
		`{"endpoint":"http://127.0.0.1","sample_ratio":2}`:                       "expected 2 to be at most 1",
		`{"endpoint":"http://127.0.0.1","sample_ratio":1,"server_addr":"badip"}`: `property "server_addr" validation failed: failed to match pattern`,
		`{"endpoint":"http://127.0.0.1","sample_ratio":1,"span_version":3}`:      `property "span_version" validation failed: matches none of the enum values`,
	})
}

func BenchmarkSampled(b *testing.B)    { benchmark(b, "1") }
func BenchmarkNotSampled(b *testing.B) { benchmark(b, "0.00001") }

func benchmark(b *testing.B, ratio string) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"endpoint":"http://127.0.0.1:1/","sample_ratio":`+ratio+`}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		c.Req.Header.Reset() // of what the upstream was told
		if _, err := p.Rewrite(c); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Access(c); err != nil {
			b.Fatal(err)
		}
		p.Log(c)
	}
}
