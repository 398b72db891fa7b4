package prometheus

import (
	"encoding/json"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// served is a request that has ended: 30 ms, 20 of them at the upstream.
func served(env *plugins.Env, status int) *plugins.Ctx {
	c := plugintest.Request("GET", "/hello")
	c.Start = env.Now().Add(-30 * time.Millisecond)
	c.Req.Size, c.Req.ContentLength, c.BytesSent = 100, 11, 222
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1", Name: "route_name"}, ServiceID: "2"}
	c.Service = &resource.Service{Meta: resource.Meta{ID: "2", Name: "service_name"}}
	c.Matched = plugins.Matched{Path: "/hello", Host: "foo.com"}
	c.ReplySource = "upstream"
	c.Tries = append(c.Tries, plugins.Try{Addr: "127.0.0.1:1980", Total: 20 * time.Millisecond})
	plugintest.Respond(c, status)
	return c
}

func env() *plugins.Env {
	e := plugintest.Env()
	e.Now = func() time.Time { return time.Unix(1000, 0) }
	return e
}

func scrape(t *testing.T, e *plugins.Env) string {
	t.Helper()
	x, err := Open(e.Shared, e.Attr)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	x.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/apisix/prometheus/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s: %s", w.Code, w.Header(), w.Body)
	}
	return w.Body.String()
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			t.Errorf("missing: %s", l)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

const tail = `,request_type="traditional_http",request_llm_model="",llm_model=""`

func TestRequest(t *testing.T) {
	e := env()
	p := plugintest.Build(t, &Plugin, e, `{}`)
	c := served(e, 200)
	c.Consumer = plugintest.Consumer("jack", "", nil)
	p.Log(c)
	p.Log(c)
	by := `route="1",service="2",consumer="jack",node="127.0.0.1"` + tail
	expect(t, scrape(t, e),
		"# HELP apisix_http_status HTTP status codes per service in APISIX",
		"# TYPE apisix_http_status counter",
		`apisix_http_status{code="200",route="1",matched_uri="/hello",matched_host="foo.com",service="2",consumer="jack",node="127.0.0.1"`+tail+`,response_source="upstream"} 2`,
		`apisix_http_latency_bucket{type="request",`+by+`,le="20"} 0`,
		`apisix_http_latency_bucket{type="request",`+by+`,le="50"} 2`,
		`apisix_http_latency_bucket{type="request",`+by+`,le="60000"} 2`,
		`apisix_http_latency_bucket{type="request",`+by+`,le="+Inf"} 2`,
		`apisix_http_latency_sum{type="request",`+by+`} 60`,
		`apisix_http_latency_count{type="request",`+by+`} 2`,
		`apisix_http_latency_bucket{type="upstream",`+by+`,le="10"} 0`,
		`apisix_http_latency_bucket{type="upstream",`+by+`,le="20"} 2`,
		`apisix_http_latency_sum{type="apisix",`+by+`} 20`,
		`apisix_bandwidth{type="ingress",`+by+`} 222`,
		`apisix_bandwidth{type="egress",`+by+`} 444`,
		`apisix_nginx_metric_errors_total 0`,
	)
}

func TestWithoutRoute(t *testing.T) {
	e := env()
	p := plugintest.Build(t, &Plugin, e, `{"prefer_name":true}`)
	c := plugintest.Request("GET", "/none")
	c.Start, c.ReplySource = e.Now(), "apisix"
	plugintest.Respond(c, 404)
	p.Log(c)
	text := scrape(t, e)
	expect(t, text, `apisix_http_status{code="404",route="",matched_uri="",matched_host="",service="",consumer="",node=""`+tail+`,response_source="apisix"} 1`)
	if strings.Contains(text, `type="upstream"`) {
		t.Error("a latency of an upstream that was not asked")
	}
}

func TestNames(t *testing.T) {
	e := env()
	p := plugintest.Build(t, &Plugin, e, `{"prefer_name":true}`)
	p.Log(served(e, 200))
	nameless := served(e, 200)
	nameless.Route = &resource.Route{Meta: resource.Meta{ID: "9"}, ServiceID: "2"}
	nameless.Service = &resource.Service{}
	p.Log(nameless)
	expect(t, scrape(t, e),
		`apisix_bandwidth{type="egress",route="route_name",service="service_name",consumer="",node="127.0.0.1"`+tail+`} 222`,
		`apisix_bandwidth{type="egress",route="9",service="2",consumer="",node="127.0.0.1"`+tail+`} 222`)
}

func TestDisabledLabels(t *testing.T) {
	e := env()
	e.Metadata = json.RawMessage(`{"disabled_labels":{"http_status":["route","node"],"bandwidth":["node"]}}`)
	p := plugintest.Build(t, &Plugin, e, `{}`)
	p.Log(served(e, 200))
	expect(t, scrape(t, e),
		`apisix_http_status{code="200",route="",matched_uri="/hello",matched_host="foo.com",service="2",consumer="",node=""`+tail+`,response_source="upstream"} 1`,
		`apisix_http_latency_count{type="request",route="1",service="2",consumer="",node="127.0.0.1"`+tail+`} 1`,
		`apisix_bandwidth{type="egress",route="1",service="2",consumer="",node=""`+tail+`} 222`)
	e.Metadata = json.RawMessage(`{"disabled_labels":{"http_status":["code"]}}`)
	if _, err := plugintest.Try(&Plugin, e, `{}`); err == nil || !strings.Contains(err.Error(), "failed to validate item 1") {
		t.Errorf("a label of the metric's own was disabled: %v", err)
	}
	e.Metadata = json.RawMessage(`{"disabled_labels":{"unknown":["node"]}}`)
	if _, err := plugintest.Try(&Plugin, e, `{}`); err == nil || !strings.Contains(err.Error(), "additional properties forbidden") {
		t.Errorf("an unknown metric was accepted: %v", err)
	}
}

func TestAttr(t *testing.T) {
	e := env()
	e.Attr = json.RawMessage(`{"metric_prefix":"gw_","default_buckets":[15,55],"metrics":{
		"http_status":{"extra_labels":[{"method":"$request_method"},{"dummy":"$none"}]}}}`)
	p := plugintest.Build(t, &Plugin, e, `{}`)
	p.Log(served(e, 200))
	post := served(e, 200)
	post.Req.Method = "POST"
	p.Log(post)
	by := `route="1",service="2",consumer="",node="127.0.0.1"` + tail
	expect(t, scrape(t, e),
		`gw_http_status{code="200",route="1",matched_uri="/hello",matched_host="foo.com",service="2",consumer="",node="127.0.0.1"`+tail+`,response_source="upstream",method="POST",dummy=""} 1`,
		`gw_http_status{code="200",route="1",matched_uri="/hello",matched_host="foo.com",service="2",consumer="",node="127.0.0.1"`+tail+`,response_source="upstream",method="GET",dummy=""} 1`,
		`gw_http_latency_bucket{type="request",`+by+`,le="15"} 0`,
		`gw_http_latency_bucket{type="request",`+by+`,le="55"} 2`,
		`gw_http_latency_bucket{type="request",`+by+`,le="+Inf"} 2`)
}

func TestExpire(t *testing.T) {
	e := env()
	now := time.Unix(1000, 0)
	e.Now = func() time.Time { return now }
	e.Attr = json.RawMessage(`{"metrics":{"http_status":{"expire":10}}}`)
	p := plugintest.Build(t, &Plugin, e, `{}`)
	p.Log(served(e, 200))
	now = now.Add(9 * time.Second)
	if !strings.Contains(scrape(t, e), "apisix_http_status{") {
		t.Error("gone too early")
	}
	now = now.Add(time.Second)
	if text := scrape(t, e); strings.Contains(text, "http_status") || !strings.Contains(text, "apisix_bandwidth{") {
		t.Error("not expired, or too much: " + text)
	}
	p.Log(served(e, 200))
	if !regexp.MustCompile(`apisix_http_status\{.*\} 1\n`).MatchString(scrape(t, e)) {
		t.Error("did not come again")
	}
}

func TestModels(t *testing.T) {
	e := env()
	p := plugintest.Build(t, &Plugin, e, `{}`)
	c := served(e, 200)
	for name, value := range map[string]string{"request_type": "ai_stream", "llm_model": strings.Repeat("m", 200),
		"llm_time_to_first_token": "7", "llm_prompt_tokens": "23", "llm_completion_tokens": "8",
		"apisix_upstream_response_time": "40"} {
		c.SetVar(name, value)
	}
	p.Log(c)
	by := `route_id="1",service_id="2",consumer="",node="127.0.0.1",request_type="ai_stream",request_llm_model="",llm_model="` +
		strings.Repeat("m", 128) + `"`
	expect(t, scrape(t, e),
		`apisix_llm_latency_sum{type="total",`+by+`} 40`,
		`apisix_llm_latency_sum{type="ttft",`+by+`} 7`,
		`apisix_llm_prompt_tokens{`+by+`} 23`,
		`apisix_llm_completion_tokens{`+by+`} 8`,
		`apisix_llm_prompt_tokens_dist_bucket{`+by+`,le="10"} 0`,
		`apisix_llm_prompt_tokens_dist_bucket{`+by+`,le="50"} 1`,
		`apisix_llm_completion_tokens_dist_count{`+by+`} 1`)
}

func TestGauges(t *testing.T) {
	e := env()
	x, err := Open(e.Shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.Add(func(yield func(string, int64, ...string)) {
		yield("node_info", 1, "host", "3.18.0")
		yield("upstream_status", 0, "/apisix/routes/1", "127.0.0.1", "1980")
		yield("http_requests_total", 12345678)
		yield("unknown", 1)
		yield("node_info", 1)
	})
	expect(t, scrape(t, e),
		`apisix_node_info{hostname="host",version="3.18.0"} 1`,
		`apisix_upstream_status{name="/apisix/routes/1",ip="127.0.0.1",port="1980"} 0`,
		`apisix_http_requests_total 1.2345678e+07`)
	// Two of each scrape; whether this one's are in it already is a matter of order.
	if text := scrape(t, e); !regexp.MustCompile(`(?m)^apisix_nginx_metric_errors_total [24]$`).MatchString(text) {
		t.Errorf("errors are not counted:\n%s", text)
	}
}

func TestAPI(t *testing.T) {
	e := env()
	e.Attr = json.RawMessage(`{"enable_export_server":true}`)
	if list, err := Plugin.NewAPIs(e); len(list) != 0 || err != nil {
		t.Errorf("%v, %v beside the export server", list, err)
	}
	e.Attr = json.RawMessage(`{"export_uri":"/metrics"}`)
	list, err := Plugin.NewAPIs(e)
	if len(list) != 1 || err != nil || list[0].Path != "/metrics" {
		t.Fatalf("%v, %v", list, err)
	}
	r, err := list[0].Serve(plugintest.Request("GET", "/metrics"))
	if err != nil || r.Status != 200 || !strings.Contains(string(r.Body.([]byte)), "apisix_nginx_metric_errors_total 0") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestExportServer(t *testing.T) {
	e := env()
	x, err := Open(e.Shared, json.RawMessage(`{"enable_export_server":true,"export_addr":{"ip":"127.0.0.1","port":9092}}`))
	if err != nil || x.Addr() != "127.0.0.1:9092" {
		t.Fatalf("%v, %v", x.Addr(), err)
	}
	for _, r := range [][2]string{{"POST", "/apisix/prometheus/metrics"}, {"GET", "/other"}} {
		w := httptest.NewRecorder()
		x.Handler().ServeHTTP(w, httptest.NewRequest(r[0], r[1], nil))
		if w.Code != 404 {
			t.Errorf("%v: %d", r, w.Code)
		}
	}
	if _, err := Open(e.Shared, json.RawMessage(`{"export_uri":1}`)); err == nil {
		t.Error("a bad attribute was accepted")
	}
}

func BenchmarkLog(b *testing.B) {
	e := plugintest.Env()
	p := plugintest.Build(b, &Plugin, e, `{}`)
	c := served(e, 200)
	req, route, service, resp, tries := c.Req, c.Route, c.Service, c.Resp, c.Tries
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Route, c.Service, c.Resp, c.Tries, c.ReplySource = route, service, resp, tries, "upstream"
		c.Matched = plugins.Matched{Path: "/hello"}
		p.Log(c)
	}
}
