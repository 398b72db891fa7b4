package logentry

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func build(t testing.TB, conf, meta string) *Log {
	t.Helper()
	l, err := try(conf, meta)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func try(conf, meta string) (*Log, error) {
	env := plugintest.Env()
	env.Now = func() time.Time { return time.Unix(1000, 30_500_000) }
	if meta != "" {
		env.Metadata = json.RawMessage(meta)
	}
	var o Options
	if err := plugins.Decode(json.RawMessage(conf), &o); err != nil {
		return nil, err
	}
	return New(&o, env)
}

// served is a request that took 30.5 ms, 20 of them upstream.
func served(target string, fields ...string) *plugins.Ctx {
	c := plugintest.Request("GET", target, fields...)
	c.Start = time.Unix(1000, 0)
	c.Req.Size, c.BytesSent = 100, 222
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}, ServiceID: "s"}
	c.Tries = append(c.Tries, plugins.Try{Addr: "127.0.0.1:1980", Total: 20 * time.Millisecond})
	plugintest.Respond(c, 200, "Content-Type: text/plain", "Set-Cookie: a", "Set-Cookie: b")
	return c
}

// same compares as JSON.
func same(t *testing.T, got []byte, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("got  %s\nwant %s", x, y)
	}
}

func TestUsual(t *testing.T) {
	hostname := hostname()
	c := served("/hello?a=1&b&a=x%20y", "X-A: 1", "x-a: 2")
	c.Consumer = plugintest.Consumer("jack", "", nil)
	same(t, build(t, `{}`, "").Entry(c), `{
		"request":{"url":"http://example.com:9080/hello?a=1&b&a=x%20y","uri":"/hello?a=1&b&a=x%20y","method":"GET",
			"headers":{"host":"example.com","x-a":["1","2"]},"querystring":{"a":["1","x y"],"b":true},"size":"100"},
		"response":{"status":200,"headers":{"content-type":"text/plain","set-cookie":["a","b"]},"size":"222"},
		"server":{"hostname":"`+hostname+`","version":"3.18.0"},"upstream":"127.0.0.1:1980","service_id":"s","route_id":"1",
		"consumer":{"username":"jack"},"client_ip":"127.0.0.1","start_time":1000000,
		"latency":30.5,"upstream_latency":20,"apisix_latency":10.5}`)
}

func TestWithoutRoute(t *testing.T) {
	l := build(t, `{"log_format_extra":{"route_id":"mine"}}`, "")
	c := served("/")
	c.Route, c.Tries, c.Resp = nil, nil, nil
	text := string(l.Entry(c))
	for _, want := range []string{`"service_id":"example.com"`, `"status":0`, `"latency":30.5`, `"apisix_latency":30.5`, `"route_id":"mine"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "upstream") {
		t.Errorf("an upstream in %s", text)
	}
	l.Unmatched = "no-matched"
	if text := string(l.Entry(c)); !strings.Contains(text, `"route_id":"no-matched"`) {
		t.Error(text)
	}
}

func TestFormats(t *testing.T) {
	for name, test := range map[string]struct{ conf, meta, want string }{
		"variables": {`{"log_format":{"host":"$host","arg":"$arg_q","none":"$arg_none","n":5,"flag":true,"text":"x\"y","empty":""}}`, "",
			`{"host":"example.com","arg":"1","n":5,"flag":true,"text":"x\"y","empty":"","route_id":"1","service_id":"s"}`},
		"nested": {`{"log_format":{"a":{"b":{"c":{"d":{"e":{"f":"deep"},"g":"$host"}}}}}}`, "",
			`{"a":{"b":{"c":{"d":{"e":{},"g":"example.com"}}}},"route_id":"1","service_id":"s"}`},
		"ids are the gateway's": {`{"log_format":{"route_id":"x","service_id":"y"}}`, "", `{"route_id":"1","service_id":"s"}`},
		"from metadata":         {`{}`, `{"log_format":{"m":"$host"}}`, `{"m":"example.com","route_id":"1","service_id":"s"}`},
		"own before metadata":   {`{"log_format":{"o":1}}`, `{"log_format":{"m":"$host"}}`, `{"o":1,"route_id":"1","service_id":"s"}`},
		"own and empty":         {`{"log_format":{}}`, `{"log_format":{"m":"$host"}}`, `{"route_id":"1","service_id":"s"}`},
		"extra is not for it":   {`{"log_format":{"o":1},"log_format_extra":{"e":1}}`, "", `{"o":1,"route_id":"1","service_id":"s"}`},
	} {
		t.Run(name, func(t *testing.T) { same(t, build(t, test.conf, test.meta).Entry(served("/?q=1")), test.want) })
	}
}

func TestExtra(t *testing.T) {
	entry := func(conf, meta string) map[string]any {
		var m map[string]any
		if err := json.Unmarshal(build(t, conf, meta).Entry(served("/?q=1")), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := entry(`{"log_format_extra":{"q":"$arg_q","client_ip":"mine","consumer":"c"}}`, `{"log_format_extra":{"m":1}}`)
	if m["q"] != "1" || m["client_ip"] != "127.0.0.1" || m["consumer"] != "c" || m["m"] != nil || m["request"] == nil {
		t.Errorf("%v", m)
	}
	if m = entry(`{}`, `{"log_format_extra":{"m":"$host"},"log_format":{}}`); m["m"] != "example.com" {
		t.Errorf("%v", m)
	}
	if m = entry(`{"log_format_extra":{}}`, `{"log_format_extra":{"m":"$host"}}`); m["m"] != nil {
		t.Errorf("%v", m)
	}
}

// body sends text as the request's body; length -1 stands for chunked.
func body(c *plugins.Ctx, text string, length int64) {
	c.Req.Method, c.Req.Body, c.Req.ContentLength = "POST", strings.NewReader(text), length
}

func TestRequestBody(t *testing.T) {
	for name, test := range map[string]struct {
		conf, text string
		length     int64
		want       string
	}{
		"whole":            {`{"include_req_body":true}`, "abcdef", 6, `"body":"abcdef"`},
		"cut":              {`{"include_req_body":true,"max_req_body_bytes":3}`, "abcdef", 6, `"body":"abc"`},
		"cut, chunked":     {`{"include_req_body":true,"max_req_body_bytes":3}`, "abcdef", -1, `"body":"abc"`},
		"none":             {`{"include_req_body":true}`, "", 0, ``},
		"condition holds":  {`{"include_req_body":true,"include_req_body_expr":[["arg_q","==","1"]]}`, "abcdef", 6, `"body":"abcdef"`},
		"condition fails":  {`{"include_req_body":true,"include_req_body_expr":[["arg_q","==","2"]]}`, "abcdef", 6, ``},
		"condition, later": {`{"include_req_body":true,"include_req_body_expr":[["status","==",200]]}`, "abcdef", 6, `"body":"abcdef"`},
		"in a format":      {`{"log_format":{"body":"$request_body"},"max_req_body_bytes":3}`, "abcdef", 6, `"body":"abc"`},
		"binary":           {`{"include_req_body":true}`, "a\x00\xff\"", 4, `"body":"a\u0000\ufffd\""`},
	} {
		t.Run(name, func(t *testing.T) {
			l := build(t, test.conf, "")
			c := served("/?q=1")
			body(c, test.text, test.length)
			if r, err := l.Access()(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if b, ok := c.BufferedBody(); ok {
				c.Req.Body = bytes.NewReader(b)
			}
			if b, err := io.ReadAll(c.Req.Body); string(b) != test.text || err != nil {
				t.Errorf("the upstream gets %q, %v", b, err)
			}
			text := string(l.Entry(c))
			if test.want == "" && strings.Contains(text, `"body"`) || !strings.Contains(text, test.want) {
				t.Error(text)
			}
		})
	}
	if build(t, `{}`, "").Access() != nil || build(t, `{}`, "").BodyFilter() != nil {
		t.Error("bodies are looked at for nothing")
	}
}

func compress(t *testing.T, encoding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if encoding == "br" {
		w = brotli.NewWriter(&b)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestResponseBody(t *testing.T) {
	for name, test := range map[string]struct {
		conf, encoding string
		pieces         []string
		want           string
	}{
		"whole":           {`{"include_resp_body":true}`, "", []string{"abc", "def", ""}, `"body":"abcdef"`},
		"cut":             {`{"include_resp_body":true,"max_resp_body_bytes":4}`, "", []string{"abc", "def", "g"}, `"body":"abcd"`},
		"empty":           {`{"include_resp_body":true}`, "", []string{""}, `"body":""`},
		"gzip":            {`{"include_resp_body":true}`, "gzip", []string{compress(t, "gzip", "hello"), ""}, `"body":"hello"`},
		"br":              {`{"include_resp_body":true}`, "br", []string{compress(t, "br", "hello"), ""}, `"body":"hello"`},
		"bomb":            {`{"include_resp_body":true,"max_resp_body_bytes":100}`, "gzip", []string{compress(t, "gzip", strings.Repeat("a", 5000))}, `"body":"` + strings.Repeat("a", 100) + `"`},
		"not yet":         {`{"include_resp_body":true}`, "gzip", []string{"plain"}, `"body":"plain"`},
		"unknown":         {`{"include_resp_body":true}`, "zstd", []string{"xyz"}, `"body":"xyz"`},
		"condition holds": {`{"include_resp_body":true,"include_resp_body_expr":[["status","==",200]]}`, "", []string{"abc"}, `"body":"abc"`},
		"condition fails": {`{"include_resp_body":true,"include_resp_body_expr":[["status","==",500]]}`, "", []string{"abc"}, ""},
		"in a format":     {`{"include_resp_body":true,"log_format":{"body":"$resp_body"}}`, "", []string{"abc"}, `"body":"abc"`},
	} {
		t.Run(name, func(t *testing.T) {
			l := build(t, test.conf, "")
			c := served("/")
			if test.encoding != "" {
				c.Resp.Header.Set("Content-Encoding", test.encoding)
			}
			for i, piece := range test.pieces {
				out, err := l.BodyFilter()(c, []byte(piece), i == len(test.pieces)-1)
				if string(out) != piece || err != nil {
					t.Fatalf("%q became %q, %v", piece, out, err)
				}
			}
			text := string(l.Entry(c))
			if test.want == "" && strings.Contains(text, `"body"`) || !strings.Contains(text, test.want) {
				t.Error(text)
			}
		})
	}
}

func TestModel(t *testing.T) {
	c := served("/")
	SetModel(c, &Model{Summary: json.RawMessage(`{"n":1}`), Request: json.RawMessage(`[]`), Text: "hi"})
	same(t, build(t, `{"log_format":{}}`, "").Entry(c),
		`{"route_id":"1","service_id":"s","llm_summary":{"n":1},"llm_request":[],"llm_response_text":"hi"}`)
}

func TestErrors(t *testing.T) {
	for conf, want := range map[string]string{
		`{"include_req_body_expr":[["a","<>","b"]]}`:  "failed to validate the 'include_req_body_expr' expression: ",
		`{"include_resp_body_expr":[["a","<>","b"]]}`: "failed to validate the 'include_resp_body_expr' expression: ",
		`{"log_format":{"a":{"b":"$post_arg.["}}}`:    "log_format: ",
		`{"log_format_extra":{"a":"$post_arg.["}}`:    "log_format_extra: ",
	} {
		if _, err := try(conf, ""); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00\xff\u20ac\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(s)); back != want { // each byte that is no UTF-8 is replaced
			t.Errorf("%q became %q", s, back)
		}
	})
}

func BenchmarkUsual(b *testing.B) { benchmark(b, `{}`) }
func BenchmarkFormat(b *testing.B) {
	benchmark(b, `{"log_format":{"host":"$host","uri":"$request_uri","ip":"$remote_addr"}}`)
}

func benchmark(b *testing.B, conf string) {
	l := build(b, conf, "")
	c := served("/hello?a=1", "User-Agent: curl", "Accept: */*")
	b.ReportAllocs()
	for b.Loop() {
		l.Entry(c)
	}
}
