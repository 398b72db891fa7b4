package proxyrewrite

import (
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestURI(t *testing.T) {
	for _, x := range []struct{ name, conf, path, query, target, want string }{
		{"nothing", `{"method":"GET"}`, "/hello", "", "", "/hello"},
		{"query kept", `{"method":"GET"}`, "/hello", "a=1&b=%20", "", "/hello?a=1&b=%20"},
		{"path is canonical", `{"method":"GET"}`, "/print_uri", "", "/print%5Furi", "/print_uri"},
		{"uri", `{"uri":"/new"}`, "/hello", "", "", "/new"},
		{"uri and query", `{"uri":"/new"}`, "/hello", "q=1", "", "/new?q=1"},
		{"uri with query", `{"uri":"/new?q=apisix"}`, "/hello", "a=1", "", "/new?q=apisix&a=1"},
		{"uri with variable", `{"uri":"/$arg_to"}`, "/hello", "to=x", "", "/x?to=x"},
		{"variable with question", `{"uri":"/$uri/remain"}`, "/hello?0z=700&a=c HTTP/1.1\r\nHost:google.com\r\n\r\n", "", "",
			"//hello%253F0z=700&a=c%20HTTP/1.1%0D%0AHost:google.com%0D%0A%0D%0A/remain"},
		{"question in path", `{"host":"a.com"}`, "/hello?0z=700&a=c HTTP/1.1\r\nHost:google.com\r\n\r\n", "", "",
			"/hello%3F0z=700&a=c%20HTTP/1.1%0D%0AHost:google.com%0D%0A%0D%0A"},
		{"regex", `{"regex_uri":["^/test/(.*)/(.*)/(.*)","/$1_$2_$3"]}`, "/test/plugin/proxy/rewrite", "", "", "/plugin_proxy_rewrite"},
		{"regex with query", `{"regex_uri":["^/test/(.*)/(.*)/(.*)","/$1_$2_$3?a=c"]}`, "/test/p/q/r", "x=1", "", "/p_q_r?a=c&x=1"},
		{"regex without match", `{"regex_uri":["^/test/(.*)","/x"]}`, "/hello", "", "", "/hello"},
		{"second regex", `{"regex_uri":["^/a/(.*)","/1/$1","^/b/(.*)","/2/${1}1"]}`, "/b/c", "", "", "/2/c1"},
		{"uri before regex", `{"uri":"/hello","regex_uri":["^/test/(.*)","/${1}1"]}`, "/test/x", "", "", "/hello"},
		{"line break captured", `{"regex_uri":["^(/reflect.*)","/print?orig=$1"]}`, "/reflect\r\nX-Injected:pwn", "", "",
			"/print?orig=/reflect%0D%0AX-Injected:pwn"},
		{"no slash", `{"regex_uri":["^/(.*)","$1"]}`, "/hello", "", "", "/hello"},
		{"unsafe", `{"use_real_request_uri_unsafe":true}`, "/print_uri", "", "/print%5Furi?x=1", "/print%5Furi?x=1"},
		{"unsafe uri", `{"uri":"/new","use_real_request_uri_unsafe":true}`, "/hello", "a=1?b=2", "/hello?a=1?b=2", "/new?a=1?b=2"},
		{"unsafe uri with query", `{"uri":"/new?x=1","use_real_request_uri_unsafe":true}`, "/hello", "q=2", "/hello?q=2", "/new?x=1&q=2"},
		{"unsafe regex", `{"regex_uri":["/hello/(.+)","/hello?v=$1"],"use_real_request_uri_unsafe":true}`, "/hello/\xed", "",
			"/hello/%ED%85%8C", "/hello?v=%ED%85%8C"},
		{"unsafe with line break", `{"uri":"/$arg_x","use_real_request_uri_unsafe":true}`, "/hello", "x=a%0d%0ab%20c", "/hello",
			"/a%0D%0Ab%20c"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", "/")
			c.Path, c.Query, c.Req.Target = x.path, x.query, x.target
			if r, err := p.Rewrite(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if c.UpstreamURI != x.want {
				t.Errorf("got  %s\nwant %s", c.UpstreamURI, x.want)
			}
		})
	}
}

func TestDotSegments(t *testing.T) {
	for path, want := range map[string]string{"/api../x": "", "/api/../x": "", "/api.": "", "/api..?x": "/..%3Fx", "/api/..x": "/..x", "/api/x..": "/x.."} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"regex_uri":["^/api(.*)","$1"]}`)
		c := plugintest.Request("GET", "/")
		c.Path = path
		r, err := p.Rewrite(c)
		if err != nil || (r == nil) != (want != "") || r != nil && r.Status != 400 || c.UpstreamURI != want {
			t.Errorf("%s: %v, %v, %q", path, r, err, c.UpstreamURI)
		}
	}
}

// TestNginxPath: nginx's own path is the new one without the client's query; the
// path that plugins see stays.
func TestNginxPath(t *testing.T) {
	for _, x := range []struct{ conf, want string }{
		{`{"uri":"/uri"}`, "/uri"},
		{`{"uri":"/uri?q=1"}`, "/uri?q=1"},
		{`{"regex_uri":["^/a(.*)","/b$1"]}`, "/b%20c"},
		{`{"host":"a.com"}`, "/a%20c"},
		{`{"uri":"/uri","use_real_request_uri_unsafe":true}`, ""},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		c := plugintest.Request("GET", "/a%20c?x=1")
		c.Path = "/a c"
		if r, err := p.Rewrite(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if c.Rewritten != x.want || c.Path != "/a c" {
			t.Errorf("%s: nginx's path %q, want %q; path %q", x.conf, c.Rewritten, x.want, c.Path)
		}
	}
}

func TestHostAndMethod(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"host":"test.com:6443","method":"POST"}`)
	c := plugintest.Request("GET", "/")
	if _, err := p.Rewrite(c); err != nil {
		t.Fatal(err)
	}
	if c.UpstreamHost != "test.com:6443" || c.Req.Method != "POST" {
		t.Errorf("%s %s", c.Req.Method, c.UpstreamHost)
	}
}

func header(c *plugins.Ctx) string {
	var l []string
	for name, value := range c.Req.Header.All() {
		l = append(l, name+": "+value)
	}
	return strings.Join(l, "; ")
}

func TestHeaders(t *testing.T) {
	for _, x := range []struct {
		name, headers string
		request       []string
		want          string
	}{
		{"flat", `{"X-Api-Engine":"APISIX","X-Api-Test":"","n":7}`, []string{"X-Api-Test: foo", "X-Api-Engine: bar"}, "X-Api-Engine: APISIX; n: 7"},
		{"all three", `{"add":{"test":"123"},"set":{"test2":2233},"remove":["hello"]}`,
			[]string{"test: a", "Hello: word", "TEST2: x"}, "test: a; test2: 2233; test: 123"},
		{"set after add", `{"add":{"test":"added"},"set":{"test":"set"}}`, nil, "test: set"},
		{"many values", `{"set":{"m":["a",1]},"add":{"k":["x","y"]}}`, []string{"m: old"}, "k: x; k: y; m: a; m: 1"},
		{"variables", `{"x-api":"$remote_addr","x-key":"${http_key ?? none}","x-none":"$arg_none","v":"a$b"}`, []string{"key: K"},
			"key: K; v: a; x-api: 127.0.0.1; x-key: K"},
		{"captures", `{"add":{"X-ID":"$1/${2}/$9"}}`, nil, "X-ID: http_key/q/"},
		{"capture is not looked through", `{"set":{"X-ID":"$0"}}`, []string{"key: K"}, "key: K; X-ID: /test/http_key/q"},
		{"line break", `{"X":"$arg_crlf"}`, nil, "X: a%0D%0AX-Evil: 1"},
		{"framing and host stay", `{"set":{"Host":"evil","Content-Length":"0","Transfer-Encoding":"x","A":"b"},"remove":["Connection"]}`, nil, "A: b"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(),
				`{"regex_uri":["^/test/(.*)/(.*)","/echo"],"headers":`+x.headers+`}`)
			c := plugintest.Request("GET", "/test/http_key/q?crlf=a%0d%0aX-Evil:%201", x.request...)
			if r, err := p.Rewrite(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if got := header(c); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"regex_uri":["^/test/(.*)","/a","x"]}`:     "The length of regex_uri should be an even number",
		`{"regex_uri":["[^/test/(.*)","/$1"]}`:       "invalid regex_uri([^/test/(.*), /$1): ",
		"{\"regex_uri\":[\"^/test/(.*)\",\"/$`1\"]}": "invalid regex_uri(^/test/(.*), /$`1): ",
		`{"uri":"home"}`:                         `property "uri" validation failed: failed to match pattern "^\\/.*" with "home"`,
		`{"method":"GET1"}`:                      `property "method" validation failed: matches none of the enum values`,
		`{"host":"apisix.iresty.com:"}`:          "failed to match pattern",
		`{"headers":{"X-Api Version":"v2"}}`:     "invalid field character in header",
		`{"headers":{"X-Api-Version":"v2\r\n"}}`: "invalid value character in header",
		`{"headers":{"set":{"a b":"v2"}}}`:       "invalid field character in header",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	p := plugintest.Build(f, &Plugin, plugintest.Env(), `{"regex_uri":["^/a(.*)","/b?$1"],"headers":{"X":"$1 $arg_x"}}`)
	f.Add("/a\r\nX: y", "x=%0a")
	f.Fuzz(func(t *testing.T, path, query string) {
		c := plugintest.Request("GET", "/")
		c.Path, c.Query = path, query
		rep, err := p.Rewrite(c)
		if err != nil {
			t.Fatal(err)
		}
		if rep != nil {
			return // refused
		}
		if strings.IndexFunc(c.UpstreamURI, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 ||
			!strings.HasPrefix(c.UpstreamURI, "/") {
			t.Errorf("target %q", c.UpstreamURI)
		}
		if strings.ContainsAny(c.Req.Header.Get("X"), "\r\n\x00") {
			t.Errorf("value %q", c.Req.Header.Get("X"))
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	for _, x := range []struct{ name, conf string }{
		{"uri", `{"uri":"/new","headers":{"set":{"X-A":"1"}}}`},
		{"regex", `{"regex_uri":["^/test/(.*)","/$1"]}`},
	} {
		b.Run(x.name, func(b *testing.B) {
			p := plugintest.Build(b, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", "/test/hello?a=1")
			req := c.Req
			b.ReportAllocs()
			for b.Loop() {
				c.Reset(c.Context, req, nil, nil)
				c.Path, c.Query = "/test/hello", "a=1"
				if _, err := p.Rewrite(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
