package requestid

import (
	"regexp"
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestAlgorithms(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                           `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		`{"algorithm":"uuidv7"}`:       `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		`{"algorithm":"nanoid"}`:       `^[-_0-9A-Za-z]{21}$`,
		`{"algorithm":"ksuid"}`:        `^[0-9A-Za-z]{27}$`,
		`{"algorithm":"range_id"}`:     `^[0-9A-Za-z]{16}$`,
		`{"header_name":"X-Trace-Id"}`: `^.{36}$`,
		`{"algorithm":"range_id","range_id":{"length":200,"char_set":"abcdef"}}`: `^[a-f]{200}$`,
	} {
		t.Run(conf, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), conf)
			seen := map[string]bool{}
			for range 1000 {
				c := plugintest.Request("GET", "/")
				if r, err := p.Rewrite(c); r != nil || err != nil {
					t.Fatal(r, err)
				}
				if !regexp.MustCompile(want).MatchString(c.RequestID) || c.Req.Header.At(0).Value != c.RequestID {
					t.Fatalf("id %q, header %v", c.RequestID, c.Req.Header.At(0))
				}
				if seen[c.RequestID] {
					t.Fatalf("%s came twice", c.RequestID)
				}
				seen[c.RequestID] = true
			}
		})
	}
}

func TestClientsOwn(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	c := plugintest.Request("GET", "/", "x-request-id: mine")
	if _, err := p.Rewrite(c); err != nil || c.RequestID != "mine" || c.Var("request_id") != "mine" {
		t.Error(err, c.RequestID)
	}
	plugintest.Respond(c, 200)
	if err := p.HeaderFilter(c); err != nil || c.Resp.Header.Get("X-Request-Id") != "mine" {
		t.Error(err, c.Resp.Header)
	}
}

func TestResponse(t *testing.T) {
	a := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	b := plugintest.Build(t, &Plugin, plugintest.Env(), `{"header_name":"X-Other","algorithm":"nanoid"}`)
	c := plugintest.Request("GET", "/", "X-Request-Id;")
	for _, p := range []func() error{
		func() error { _, err := a.Rewrite(c); return err }, func() error { _, err := b.Rewrite(c); return err },
		func() error { plugintest.Respond(c, 200, "X-Other: upstream"); return a.HeaderFilter(c) },
		func() error { return b.HeaderFilter(c) },
	} {
		if err := p(); err != nil {
			t.Fatal(err)
		}
	}
	if id := c.Resp.Header.Get("X-Request-Id"); len(id) != 36 || id != c.Req.Header.Get("X-Request-Id") {
		t.Errorf("id %q", id)
	}
	if id := c.Resp.Header.Get("X-Other"); id != "upstream" {
		t.Errorf("the upstream's id became %q", id)
	}
	if p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"include_in_response":false}`); p.HeaderFilter != nil {
		t.Error("a header filter that has nothing to do")
	}
}

func TestConfiguration(t *testing.T) {
	for _, conf := range []string{`{"algorithm":"snowflake"}`, `{"range_id":{"length":5}}`, `{"range_id":{"char_set":"abc"}}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Error(conf)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	for _, algorithm := range []string{"uuid", "uuidv7", "nanoid", "range_id", "ksuid"} {
		b.Run(algorithm, func(b *testing.B) {
			p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"algorithm":"`+algorithm+`"}`)
			c := plugintest.Request("GET", "/")
			req := c.Req
			b.ReportAllocs()
			for b.Loop() {
				c.Reset(c.Context, req, nil, nil)
				req.Header.Reset()
				if _, err := p.Rewrite(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
