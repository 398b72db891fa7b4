package uarestriction

import (
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestAccess(t *testing.T) {
	const (
		allow = `{"allowlist":["my-bot1","(Baiduspider)/(\\d+)\\.(\\d+)"]}`
		deny  = `{"denylist":["my-bot1","(Baiduspider)/(\\d+)\\.(\\d+)"]}`
	)
	for _, x := range []struct {
		conf   string
		agents string // separated by "|"; "" for none
		denied string
	}{
		{deny, "my-bot1", "Not allowed"},
		{deny, "Baiduspider/3.0", "Not allowed"},
		{deny, "my-bot2|my-bot1", "Not allowed"},
		{deny, "foo/bar", ""},
		{deny, "", "Not allowed"},
		{allow, "my-bot1", ""},
		{allow, "Baiduspider/3.0", ""},
		{allow, "foo/bar|my-bot1", ""},
		{allow, "foo/bar", "Not allowed"},
		{allow, "", "Not allowed"},
		{`{"allowlist":["^a$"],"bypass_missing":true}`, "", ""},
		{`{"allowlist":["^a$"],"bypass_missing":true}`, "ab", "Not allowed"},
		{`{"denylist":["a"],"message":"no"}`, "a", "no"},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		c := plugintest.Request("GET", "/")
		if x.agents != "" {
			for agent := range strings.SplitSeq(x.agents, "|") {
				c.Req.Header.Add("user-agent", agent)
			}
		}
		r, err := p.Access(c)
		switch {
		case err != nil:
			t.Error(err)
		case x.denied == "" && r != nil:
			t.Errorf("%s refuses %q: %+v", x.conf, x.agents, r)
		case x.denied != "" && (r == nil || r.Status != 403 || r.Body != (plugins.Message{Message: x.denied})):
			t.Errorf("%s answers %q: %+v", x.conf, x.agents, r)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                "value should match only one schema, but matches none",
		`{"allowlist":["a"],"denylist":[]}`: "",
		`{"denylist":["("]}`:                `pcre_compile() failed: missing ) in "("`,
		`{"allowlist":["a","("]}`:           `pcre_compile() failed: missing ) in "("`,
		`{"denylist":["a"],"message":""}`:   "string too short",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"denylist":["my-bot1","(Baiduspider)/(\\d+)\\.(\\d+)"]}`)
	c := plugintest.Request("GET", "/", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
