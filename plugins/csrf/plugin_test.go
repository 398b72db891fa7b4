package csrf

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// env has a clock that stands still at *now.
func env(now *time.Time) *plugins.Env {
	e := plugintest.Env()
	e.Now = func() time.Time { return *now }
	return e
}

var cookieForm = regexp.MustCompile(`^t=([0-9A-Za-z+/=]+);path=/;SameSite=Lax;Expires=(.*)$`)

// issue is a new token, and when its cookie ends.
func issue(t testing.TB, p *plugins.Phases) (token, expires string) {
	c := plugintest.Request("GET", "/")
	plugintest.Respond(c, 200)
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	m := cookieForm.FindStringSubmatch(c.Resp.Header.Get("Set-Cookie"))
	if m == nil {
		t.Fatal(c.Resp.Header.Get("Set-Cookie"))
	}
	return m[1], m[2]
}

func post(p *plugins.Phases, field, cookie string) string {
	var fields []string
	if field != "" {
		fields = append(fields, "t: "+field)
	}
	if cookie != "" {
		fields = append(fields, "Cookie: a=b; t="+cookie)
	}
	r, err := p.Access(plugintest.Request("POST", "/", fields...))
	switch {
	case err != nil:
		return err.Error()
	case r == nil:
		return ""
	}
	return fmt.Sprint(r.Status, r.Body)
}

func TestAccess(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := plugintest.Build(t, &Plugin, env(&now), `{"key":"userkey","expires":60,"name":"t"}`)
	token, expires := issue(t, &p)
	if expires != "Wed, 02-Jan-30 03:05:05 GMT" {
		t.Error(expires)
	}
	other := plugintest.Build(t, &Plugin, env(&now), `{"key":"another","expires":60,"name":"t"}`)
	foreign, _ := issue(t, &other)
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const failed = "401 {Failed to verify the csrf token signature}"
	for _, x := range []struct{ name, field, cookie, want string }{
		{"right", token, token, ""},
		{"no field", "", token, "401 {no csrf token in headers}"},
		{"no cookie", token, "", "401 {no csrf cookie}"},
		{"two tokens", token, foreign, "401 {csrf token mismatch}"},
		{"another's token", foreign, foreign, failed},
		{"no base64", "!", "!", failed},
		{"no JSON", encode("x"), encode("x"), failed},
		{"no random", encode(`{"expires":1}`), encode(`{"expires":1}`), failed},
		{"no time", encode(`{"random":1}`), encode(`{"random":1}`), failed},
		{"time is text", encode(`{"random":1,"expires":"x","sign":""}`), encode(`{"random":1,"expires":"x","sign":""}`), failed},
	} {
		if got := post(&p, x.field, x.cookie); got != x.want {
			t.Errorf("%s: %s", x.name, got)
		}
	}
	now = now.Add(60 * time.Second)
	if got := post(&p, token, token); got != "" {
		t.Error("in the last second:", got)
	}
	now = now.Add(time.Second)
	if got := post(&p, token, token); got != failed {
		t.Error("too old:", got)
	}
}

// TestForeignToken takes a token as APISIX makes them.
func TestForeignToken(t *testing.T) {
	now := time.Unix(1626500000, 0)
	p := plugintest.Build(t, &Plugin, env(&now), `{"key":"userkey","expires":1000000000,"name":"t"}`)
	const token = "eyJyYW5kb20iOjAuNDI5ODYzMTk3MTYxMzksInNpZ24iOiI0ODRlMDY4NTkxMWQ5NmJhMDc5YzQ1ZGI0OTE2NmZkYjQ0ODhjODVkNWQ0NmE1Y2FhM2UwMmFhZDliNjE5OTQ2IiwiZXhwaXJlcyI6MjY0MzExOTYyNH0="
	if got := post(&p, token, token); got != "" {
		t.Error(got)
	}
}

func TestReading(t *testing.T) {
	now := time.Now()
	p := plugintest.Build(t, &Plugin, env(&now), `{"key":"k","name":"t"}`)
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		if r, err := p.Access(plugintest.Request(method, "/")); r != nil || err != nil {
			t.Error(method, r, err)
		}
	}
	first, _ := issue(t, &p)
	if second, _ := issue(t, &p); first == second {
		t.Error("the same token twice")
	}
}

func TestForEver(t *testing.T) {
	now := time.Unix(1700000000, 0)
	p := plugintest.Build(t, &Plugin, env(&now), `{"key":"k","expires":0,"name":"t"}`)
	token, _ := issue(t, &p)
	now = now.Add(20 * 365 * 24 * time.Hour)
	if got := post(&p, token, token); got != "" {
		t.Error(got)
	}
	if _, expires := issue(t, &p); !regexp.MustCompile(`-20\d\d `).MatchString(expires) {
		t.Error(expires)
	}
}

func TestVeryLong(t *testing.T) {
	now := time.Unix(1700000000, 0)
	p := plugintest.Build(t, &Plugin, env(&now), `{"key":"k","expires":10000000000,"name":"t"}`)
	if _, expires := issue(t, &p); expires != "Thu, 21-Oct-2123 22:13:20 GMT" {
		t.Error(expires)
	}
}

func TestNumber(t *testing.T) {
	for want, f := range map[string]float64{
		"1700000000": 1700000000, "0.42986319716139": 0.42986319716139, "0.1": 0.1, "1e-05": 1e-5, "0.12345678901235": 0.123456789012345678,
	} {
		if got := string(number(nil, f)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestConfiguration(t *testing.T) {
	if _, err := plugintest.Try(&Plugin, plugintest.Env(), `{}`); err == nil {
		t.Error("no key")
	}
}

func Benchmark(b *testing.B) {
	now := time.Now()
	p := plugintest.Build(b, &Plugin, env(&now), `{"key":"k","name":"t"}`)
	token, _ := issue(b, &p)
	b.Run("access", func(b *testing.B) {
		c := plugintest.Request("POST", "/", "t: "+token, "Cookie: t="+token)
		b.ReportAllocs()
		for b.Loop() {
			if r, err := p.Access(c); r != nil || err != nil {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("header", func(b *testing.B) {
		c := plugintest.Request("GET", "/")
		plugintest.Respond(c, 200)
		req := c.Req
		b.ReportAllocs()
		for b.Loop() {
			resp := c.Resp
			c.Reset(c.Context, req, nil, nil)
			c.Resp = resp
			resp.Header.Reset()
			if err := p.HeaderFilter(c); err != nil {
				b.Fatal(err)
			}
		}
	})
}
