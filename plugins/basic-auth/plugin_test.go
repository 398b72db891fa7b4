package basicauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
	"sluice/plugins/internal/plugintest"
)

func user(t testing.TB, name, password string) *plugins.Consumer {
	t.Helper()
	conf, err := json.Marshal(map[string]string{"username": name, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	return plugintest.User(t, &Plugin, name, string(conf))
}

func consumers(t testing.TB) plugintest.Consumers {
	return plugintest.Consumers{
		"foo": user(t, "foo", "bar"), "colon": user(t, "colon", "a:b"), "space": user(t, "space", "a b"),
		"guest": plugintest.Consumer("anonymous", "", nil),
	}
}

func basic(credentials string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func TestRewrite(t *testing.T) {
	const (
		missing = "Missing authorization in request"
		invalid = "Invalid authorization in request"
		wrong   = "Invalid user authorization"
	)
	for _, x := range []struct{ name, conf, header, denied, consumer string }{
		{"right", `{}`, basic("foo:bar"), "", "foo"},
		{"lower case", `{}`, "Authorization: basic Zm9vOmJhcg==", "", "foo"},
		{"upper case", `{}`, "Authorization: BASIC Zm9vOmJhcg", "", "foo"},
		{"none", `{}`, "", missing, ""},
		{"another scheme", `{}`, "Authorization: Bad_header YmFyOmJhcgo=", invalid, ""},
		{"scheme alone", `{}`, "Authorization: Basic", invalid, ""},
		{"no base64", `{}`, "Authorization: Basic aca_a", invalid, ""},
		{"no colon", `{}`, basic("bar"), invalid, ""},
		{"no password", `{}`, basic("foo:"), invalid, ""},
		{"unknown", `{}`, basic("bar:bar"), wrong, ""},
		{"wrong password", `{}`, basic("foo:foo"), wrong, ""},
		{"nobody's password", `{}`, basic("ghost:x"), wrong, ""},
		{"line break", `{}`, basic(" foo : bar\n"), "", "foo"},
		{"colon in password", `{}`, basic("colon:a:b"), "", "colon"},
		{"more after a colon", `{}`, basic("foo:bar:x"), wrong, ""},
		{"space in password", `{}`, basic("space:a b"), "", "space"},
		{"space is significant", `{}`, basic("space:ab"), wrong, ""},
		{"anonymous", `{"anonymous_consumer":"anonymous"}`, basic("foo:wrong"), "", "anonymous"},
		{"missing anonymous", `{"anonymous_consumer":"ghost"}`, "", wrong, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := consumers(t).Request("GET", "/", x.header, "X-Consumer-Username: root", "x_consumer_username: root")
			plugintest.Authenticate(t, p, c, x.consumer, x.denied, `Basic realm="basic"`)
			if x.denied != "" {
				return
			}
			if h := &c.Req.Header; h.Has("x_consumer_username") || !h.Has("Authorization") {
				t.Errorf("header %v", h)
			}
		})
	}
}

func TestHidden(t *testing.T) {
	for _, header := range []string{basic("foo:bar"), basic("foo:wrong")} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"hide_credentials":true,"anonymous_consumer":"anonymous"}`)
		c := consumers(t).Request("GET", "/", header)
		if r, err := p.Rewrite(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if c.Req.Header.Has("Authorization") {
			t.Errorf("%s goes upstream", header)
		}
	}
}

// TestLogHoldsNoCredentials sends what APISIX once wrote into its log.
func TestLogHoldsNoCredentials(t *testing.T) {
	var log bytes.Buffer
	for _, header := range []string{basic("foo:canary"), basic("canary"), basic("canary:canary"),
		"Authorization: Basic canary!", "Authorization: canary"} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"realm":"r"}`)
		c := consumers(t).Request("GET", "/", header)
		c.Reset(context.Background(), c.Req, c.Find(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		r, err := p.Rewrite(c)
		if r == nil || err != nil {
			t.Fatal(r, err)
		}
		if strings.Contains(r.Body.(plugins.Message).Message, "canary") {
			t.Errorf("reply %+v", r)
		}
	}
	if text := log.String(); text == "" || strings.Contains(text, "canary") || strings.Contains(text, basic("canary")[21:]) {
		t.Errorf("log %s", text)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"anonymous_consumer":""}`:  `property "anonymous_consumer" validation failed: string too short, expected at least 1, got 0`,
		`{"anonymous_consumer":123}`: `wrong type: expected string, got number`,
		`{"hide_credentials":"no"}`:  `wrong type: expected boolean, got string`,
		`{"realm":"a\"b"}`:           `failed to match pattern`,
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("Basic Zm9vOmJhcg==")
	finder := consumers(f)
	f.Fuzz(func(t *testing.T, header string) {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
		c := finder.Request("GET", "/")
		c.Req.Header.Set("Authorization", header)
		r, err := p.Rewrite(c)
		if err != nil || (r == nil) != (c.Consumer != nil) {
			t.Fatal(r, err)
		}
		encoded, _ := credentials(header)
		decoded, ok := consumer.DecodeBase64(encoded)
		if r == nil && (!ok || !strings.Contains(string(decoded), ":")) {
			t.Fatalf("%q got through", header)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{}`)
	c := consumers(b).Request("GET", "/hello", "User-Agent: test", "Accept: */*", basic("foo:bar"))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
