package keyauth

import (
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

var consumers = plugintest.Consumers{
	"secret": plugintest.Consumer("jack", "", map[string]string{"custom_id": "495aec6a"}),
	"cred":   plugintest.Consumer("jack", "34010989-ce4e", nil),
	"nobody": plugintest.Consumer("anonymous", "", nil),
}

func TestRewrite(t *testing.T) {
	const (
		missing = "Missing API key in request"
		invalid = "Invalid API key in request"
		user    = "Invalid user authorization"
	)
	for _, x := range []struct {
		name, conf, target string
		header             string
		denied             string // message; "" for passed
		consumer           string
		upstream           string // UpstreamURI
	}{
		{"header", `{}`, "/hello", "apikey: secret", "", "jack", ""},
		{"query", `{}`, "/hello?apikey=secret", "", "", "jack", ""},
		{"header before query", `{}`, "/hello?apikey=secret", "apikey: wrong", invalid, "", ""},
		{"none", `{}`, "/hello", "", missing, "", ""},
		{"unknown", `{}`, "/hello", "apikey: x", invalid, "", ""},
		{"empty", `{}`, "/hello", "apikey:", invalid, "", ""},
		{"own names", `{"header":"Authorization","query":"auth"}`, "/hello?auth=secret", "", "", "jack", ""},
		{"hidden header", `{"hide_credentials":true}`, "/hello?a=1", "apikey: secret", "", "jack", ""},
		{"hidden query", `{"hide_credentials":true}`, "/hello?a=1&apikey=secret&b=%20&%61pikey=2", "", "", "jack", "/hello?a=1&b=%20"},
		{"hidden only query", `{"hide_credentials":true}`, "/hello?apikey=secret", "", "", "jack", "/hello"},
		{"anonymous", `{"anonymous_consumer":"anonymous"}`, "/hello", "", "", "anonymous", ""},
		{"anonymous for wrong key", `{"anonymous_consumer":"anonymous","hide_credentials":true}`,
			"/hello?apikey=wrong&x=1", "apikey: wrong", "", "anonymous", "/hello?x=1"},
		{"missing anonymous", `{"anonymous_consumer":"ghost"}`, "/hello", "", user, "", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := consumers.Request("GET", x.target, x.header)
			plugintest.Authenticate(t, p, c, x.consumer, x.denied, `apikey realm="key"`)
			if c.UpstreamURI != x.upstream {
				t.Errorf("upstream uri %q, want %q", c.UpstreamURI, x.upstream)
			}
		})
	}
}

// TestEmptyKey: a secret that holds nothing must not make a consumer of everybody.
func TestEmptyKey(t *testing.T) {
	empty := plugintest.Consumers{"": plugintest.Consumer("jack", "", nil)}
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	for _, c := range []*plugins.Ctx{empty.Request("GET", "/", "apikey:"), empty.Request("GET", "/?apikey="), empty.Request("GET", "/?apikey")} {
		plugintest.Authenticate(t, p, c, "", "Invalid API key in request", `apikey realm="key"`)
	}
}

func TestHiddenHeader(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"hide_credentials":true}`)
	c := consumers.Request("GET", "/", "ApiKey: secret")
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if c.Req.Header.Has("apikey") {
		t.Error("the key goes upstream")
	}
}

func TestIdentityHeaders(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	forged := []string{"apikey: cred", "X-Consumer-Username: root", "x_consumer_username: root",
		"X-Consumer-Custom-ID: 1", "X-Consumer-Custom_Id: 1", "X-Credential-Identifier: 1", "x-credential-identifier: 2"}
	c := consumers.Request("GET", "/", forged...)
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	got := map[string][]string{}
	for name, value := range c.Req.Header.All() {
		got[name] = append(got[name], value)
	}
	if len(got) != 3 || len(got["X-Consumer-Username"]) != 1 || got["X-Consumer-Username"][0] != "jack" ||
		len(got["X-Credential-Identifier"]) != 1 || got["X-Credential-Identifier"][0] != "34010989-ce4e" {
		t.Errorf("header %v", got)
	}
}

func TestRealm(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"realm":"my realm"}`)
	c := consumers.Request("GET", "/")
	if _, err := p.Rewrite(c); err != nil {
		t.Fatal(err)
	}
	if got := c.RespHeader.Get("WWW-Authenticate"); got != `apikey realm="my realm"` {
		t.Errorf("challenge %q", got)
	}
	for _, bad := range []string{`{"realm":""}`, `{"realm":"a\"b"}`, `{"realm":"a\\b"}`, `{"header":1}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{}`)
	c := consumers.Request("GET", "/hello", "User-Agent: test", "Accept: */*", "apikey: secret")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
