package uriblocker

import (
	"strings"
	"testing"

	"sluice/gateway/uri"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func request(t testing.TB, target string) *plugins.Ctx {
	t.Helper()
	c := plugintest.Request("GET", target)
	var err error
	if c.Path, c.Query, err = uri.Canonical(target); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRewrite(t *testing.T) {
	for _, x := range []struct {
		conf, target string
		status       int // 0: passed
		body         any
	}{
		{`{"block_rules":["aa"]}`, "/hello?aa=1", 403, nil},
		{`{"block_rules":["aa"]}`, "/hello?bb=2", 0, nil},
		{`{"block_rules":["aa"]}`, "/hello?AA=2", 0, nil},
		{`{"block_rules":["aa","bb","c\\d+"]}`, "/hello?c1=2", 403, nil},
		{`{"block_rules":["aa","bb","c\\d+"]}`, "/hello?cc=2", 0, nil},
		{`{"block_rules":["select.+(from|limit)","(?:(union(.*?)select))"]}`, "/hello?name=;select%20from%20sys", 403, nil},
		{`{"block_rules":["select.+(from|limit)","(?:(union(.*?)select))"]}`, "/hello?name=;union%20select%20", 403, nil},
		{`{"block_rules":["aa"],"rejected_msg":"access is not allowed"}`, "/hello?aa=1", 403, plugins.ErrorMsg{ErrorMsg: "access is not allowed"}},
		{`{"block_rules":["AA"],"case_insensitive":true,"rejected_code":451}`, "/hello?aa=1", 451, nil},
		{`{"block_rules":["(?i)x","Y"]}`, "/y", 0, nil},
		{`{"block_rules":[]}`, "/y", 0, nil},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		r, err := p.Rewrite(request(t, x.target))
		switch {
		case err != nil:
			t.Error(err)
		case x.status == 0 && r != nil:
			t.Errorf("%s blocks %s: %+v", x.conf, x.target, r)
		case x.status != 0 && (r == nil || r.Status != x.status || r.Body != x.body):
			t.Errorf("%s answers %s: %+v", x.conf, x.target, r)
		}
	}
}

// TestWaysAround holds paths against an anchored rule that mean what it blocks.
func TestWaysAround(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"block_rules":["^/internal/"]}`)
	for _, target := range []string{"/internal/x", "/./internal/x?aa=1", "//internal/x", "/a/../internal/x", "/%2e/internal/x",
		"/%69nternal/x", "/internal%2fx", "/internal%2Fx", "/a/%2e%2e/internal/x", "/a/..%2finternal/x"} {
		if r, err := p.Rewrite(request(t, target)); r == nil || err != nil {
			t.Errorf("%s got through", target)
		}
	}
	for _, target := range []string{"/", "/internals", "/x/internal/x", "/x?/internal/"} {
		if r, err := p.Rewrite(request(t, target)); r != nil || err != nil {
			t.Errorf("%s: %+v, %v", target, r, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                           `property "block_rules" is required`,
		`{"block_rules":[".+("]}`:      `pcre_compile() failed: missing ) in ".+("`,
		`{"block_rules":["^a","^b("]}`: `pcre_compile() failed: missing ) in "^b("`,
		`{"block_rules":["^a"],"rejected_msg":""}`:   `property "rejected_msg" validation failed: string too short, expected at least 1, got 0`,
		`{"block_rules":["^a"],"rejected_msg":true}`: `property "rejected_msg" validation failed: wrong type: expected string, got boolean`,
		`{"block_rules":["a","a"]}`:                  "unique",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"block_rules":["root\\.exe","root\\.m+"]}`)
	for _, target := range []string{"/hello/world?a=1", "/hello%20world"} {
		c := request(b, target)
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := p.Rewrite(c); r != nil || err != nil {
					b.Fatal(r, err)
				}
			}
		})
	}
}
