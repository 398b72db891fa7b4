package redirect

import (
	"crypto/tls"
	"encoding/json"
	"strings"
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestRewrite(t *testing.T) {
	for _, x := range []struct {
		name, conf, method, target string
		fields                     []string
		status                     int // 0: goes on
		location                   string
	}{
		{"fixed", `{"uri":"/test/add","ret_code":301}`, "GET", "/hello", nil, 301, "/test/add"},
		{"default code", `{"uri":"$uri/test/a${arg_name}c"}`, "GET", "/hello?name=json", nil, 302, "/hello/test/ajsonc"},
		{"lone dollar", `{"uri":"/foo$$uri"}`, "GET", "/hello", nil, 302, "/foo$/hello"},
		{"behind a backslash", `{"uri":"\\$uri/foo$uri\\$uri/bar"}`, "GET", "/hello", nil, 302, `\$uri/foo/hello\$uri/bar`},
		{"no such variable", `{"uri":"$uri/$bad_var/bar"}`, "GET", "/hello", nil, 302, "/hello//bar"},
		{"open brace", `{"uri":"/a${uri"}`, "GET", "/hello", nil, 302, "/a${uri"},
		{"query", `{"uri":"/a","append_query_string":true}`, "GET", "/hello?b=1", nil, 302, "/a?b=1"},
		{"query behind a query", `{"uri":"/a?c=2","append_query_string":true}`, "GET", "/hello?b=1", nil, 302, "/a?c=2&b=1"},
		{"encoded", `{"uri":"/a b?c d","encode_uri":true}`, "GET", "/", nil, 302, "/a%20b?c d"},
		{"regex", `{"regex_uri":["^/test/(.*)","http://test.com/${1}"]}`, "GET", "/test/1", nil, 302, "http://test.com/1"},
		{"regex without match", `{"regex_uri":["^/test/(.*)","/x"]}`, "GET", "/hello", nil, 0, ""},
		{"https", `{"http_to_https":true}`, "GET", "/hello?a=1", nil, 301, "https://example.com:8443/hello?a=1"},
		{"https, another method", `{"http_to_https":true}`, "POST", "/hello", nil, 308, "https://example.com:8443/hello"},
		{"came by https, we are told", `{"http_to_https":true}`, "GET", "/", []string{"X-Forwarded-Proto: https"}, 0, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			env := plugintest.Env()
			env.Attr = json.RawMessage(`{"https_port":8443,"listening":[9443]}`)
			p := plugintest.Build(t, &Plugin, env, x.conf)
			c := plugintest.Request(x.method, x.target, x.fields...)
			r, err := p.Rewrite(c)
			status := 0
			if r != nil {
				status = r.Status
			}
			if err != nil || status != x.status || c.RespHeader.Get("Location") != x.location {
				t.Errorf("%v %v %q", err, r, c.RespHeader.Get("Location"))
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"http_to_https":true}`)
	c := plugintest.Request("GET", "/hello")
	c.Req.TLS = new(tls.ConnectionState)
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Error(r, err)
	}
}

func TestPorts(t *testing.T) {
	for attr, want := range map[string]string{
		``: "https://example.com/", `{"listening":[443]}`: "https://example.com/", `{"listening":[9443]}`: "https://example.com:9443/",
		`{"https_port":443,"listening":[9443]}`: "https://example.com/", `{"https_port":70000}`: "https://example.com/",
	} {
		env := plugintest.Env()
		env.Attr = json.RawMessage(attr)
		p := plugintest.Build(t, &Plugin, env, `{"http_to_https":true}`)
		c := plugintest.Request("GET", "/")
		if _, err := p.Rewrite(c); err != nil || c.RespHeader.Get("Location") != want {
			t.Errorf("%s: %v %s", attr, err, c.RespHeader.Get("Location"))
		}
	}
}

// TestNoSplitting: what the client writes cannot end the field.
func TestNoSplitting(t *testing.T) {
	for _, conf := range []string{`{"uri":"$uri"}`, `{"uri":"/$arg_a"}`, `{"regex_uri":["(.*)","$1"]}`, `{"uri":"/x","append_query_string":true}`} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), conf)
		c := plugintest.Request("GET", "/a?a=%0d%0ab")
		c.Path, c.Query = "/\\a\r\nX-Evil: 1", c.Query+"\r\n"
		if _, err := p.Rewrite(c); err != nil {
			t.Fatal(err)
		}
		if l := c.RespHeader.Get("Location"); strings.ContainsAny(l, "\r\n") || strings.HasPrefix(l, `/\`) {
			t.Errorf("%s: %q", conf, l)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"http_to_https":true,"append_query_string":true}`: "only one of `http_to_https` and `append_query_string` can be configured.",
		`{"regex_uri":["[^/test","/x"]}`:                    "invalid regex_uri ([^/test, /x), err:",
		`{"regex_uri":["x"]}`:                               "expect array to have at least 2 items",
		`{"uri":"/xx","http_to_https":true}`:                "value should match only one schema, but matches both schemas 1 and 3",
		`{"uri":"/xx","ret_code":100}`:                      "expected 100 to be at least 200",
		`{}`:                                                "matches none",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"uri":"/new$uri","append_query_string":true}`)
	c := plugintest.Request("GET", "/hello?a=1")
	req := c.Req
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Path, c.Query = "/hello", "a=1"
		if r, err := p.Rewrite(c); r == nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
