package clientcontrol

import (
	"errors"
	"io"
	"strings"
	"testing"

	"sluice/gateway/wire"
	"sluice/plugins/internal/plugintest"
)

func TestRewrite(t *testing.T) {
	for _, x := range []struct {
		name, conf, body string
		length           int64
		status           int
	}{
		{"none", `{"max_body_size":5}`, "", 0, 0},
		{"fits", `{"max_body_size":5}`, "12345", 5, 0},
		{"too long", `{"max_body_size":5}`, "123456", 6, 413},
		{"fits, not announced", `{"max_body_size":5}`, "12345", -1, 0},
		{"too long, not announced", `{"max_body_size":5}`, "123456", -1, 413},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("POST", "/")
			c.Req.Body, c.Req.ContentLength = strings.NewReader(x.body), x.length
			r, err := p.Rewrite(c)
			if err != nil || (r == nil) != (x.status == 0) || r != nil && r.Status != x.status {
				t.Fatal(r, err)
			}
			if b, err := c.Body(0); r == nil && (err != nil || string(b) != x.body) {
				t.Errorf("body %q, %v", b, err)
			}
		})
	}
}

// TestStream: a stream of HTTP/2 is not held up, and cut off at the limit.
func TestStream(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"max_body_size":5}`)
	for body, fits := range map[string]bool{"12345": true, "123456": false} {
		c := plugintest.Request("POST", "/")
		c.Req.Major, c.Req.Minor = 2, 0
		c.Req.Body, c.Req.ContentLength = strings.NewReader(body), -1
		if r, err := p.Rewrite(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		_, err := io.ReadAll(c.Req.Body)
		var e *wire.Error
		if fits && err != nil || !fits && (!errors.As(err, &e) || e.Kind != wire.TooLarge || e.Side != wire.Client) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestNotHeld: a limit of gigabytes does not take them in.
func TestNotHeld(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"max_body_size":10737418240}`)
	c := plugintest.Request("POST", "/")
	c.Req.Body, c.Req.ContentLength = strings.NewReader("text"), -1
	if r, err := p.Rewrite(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if _, held := c.BufferedBody(); held {
		t.Error("the body was taken in")
	}
}

func TestNoLimit(t *testing.T) {
	for _, conf := range []string{`{}`, `{"max_body_size":0}`} {
		if p := plugintest.Build(t, &Plugin, plugintest.Env(), conf); p.Rewrite != nil {
			t.Error(conf)
		}
	}
	if _, err := plugintest.Try(&Plugin, plugintest.Env(), `{"max_body_size":-1}`); err == nil {
		t.Error("-1 was taken")
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"max_body_size":5}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
