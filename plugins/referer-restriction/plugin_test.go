package refererrestriction

import (
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestAccess(t *testing.T) {
	const (
		white = `{"whitelist":["*.xx.com","yy.com"]}`
		black = `{"blacklist":["*.xx.com"],"message":"no"}`
		no    = "Your referer host is not allowed"
	)
	for _, x := range []struct{ conf, referer, denied string }{
		{white, "http://www.xx.com", ""},
		{white, "https://yy.com/am", ""},
		{white, "//yy.com:80?x", ""},
		{white, "https://YY.com/am", ""},
		{white, "https://www.yy.com/am", no},
		{white, "http://yy.com:x@evil.com/", no},
		{white, `http://evil.com\.xx.com`, no},
		{white, "http://evil.com#.xx.com", no},
		{white, "http://evil.com/.xx.com", no},
		{white, "ftp://yy.com", no},
		{white, "www.yy.com", no},
		{white, "", no},
		{`{"whitelist":["[::1]"]}`, "http://[::1]:80/", ""},
		{`{"whitelist":["*"]}`, "http://x/", ""},
		{`{"whitelist":["yy.com"],"bypass_missing":true}`, "", ""},
		{`{"whitelist":["yy.com"],"bypass_missing":true}`, "www.yy.com", ""},
		{`{"whitelist":["yy.com"],"bypass_missing":true}`, "http://", ""},
		{`{"whitelist":["yy.com"],"bypass_missing":true}`, "http://[::1", ""},
		{black, "http://www.xx.com", "no"},
		{black, "http://WWW.xx.com", "no"},
		{black, "http://yy.com", ""},
		{black, "", "no"},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		c := plugintest.Request("GET", "/")
		if x.referer != "" {
			c.Req.Header.Add("referer", x.referer)
		}
		r, err := p.Access(c)
		switch {
		case err != nil:
			t.Error(err)
		case x.denied == "" && r != nil:
			t.Errorf("%s refuses %q: %+v", x.conf, x.referer, r)
		case x.denied != "" && (r == nil || r.Status != 403 || r.Body != (plugins.Message{Message: x.denied})):
			t.Errorf("%s answers %q: %+v", x.conf, x.referer, r)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                     "value should match only one schema, but matches none",
		`{"whitelist":["a"],"blacklist":["b"]}`:  "value should match only one schema, but matches both schemas 1 and 2",
		`{"whitelist":["a/b"]}`:                  "failed to match pattern",
		`{"bypass_missing":1,"whitelist":["a"]}`: "wrong type: expected boolean, got number",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func FuzzHostOf(f *testing.F) {
	f.Add("http://a:1/b")
	f.Fuzz(func(t *testing.T, uri string) {
		if host := hostOf(uri); strings.ContainsAny(host, "/?#@\\") {
			t.Errorf("%q has the host %q", uri, host)
		}
	})
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"whitelist":["*.xx.com","yy.com"]}`)
	c := plugintest.Request("GET", "/", "Accept: */*", "Referer: https://www.xx.com/a/b?c")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
