package brotli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// send passes pieces through p and returns what a client gets of each.
func send(t testing.TB, p *plugins.Phases, c *plugins.Ctx, pieces ...string) [][]byte {
	var got [][]byte
	if err := p.DelayedHeader(c); err != nil {
		t.Fatal(err)
	}
	for i, piece := range pieces {
		out, err := p.DelayedBody(c, []byte(piece), i == len(pieces)-1)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bytes.Clone(out))
	}
	p.Log(c)
	return got
}

func request(fields ...string) *plugins.Ctx {
	c := plugintest.Request("GET", "/", append(fields, "Accept-Encoding: deflate, br;q=0.5")...)
	plugintest.Respond(c, 200, "Content-Type: text/html; charset=utf-8", "Content-Length: 100", "ETag: \"x\"").ContentLength = 100
	return c
}

func TestRoundTrip(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"vary":true}`)
	long := strings.Repeat("long text ", 10000)
	for range 3 { // streams are used again
		for _, pieces := range [][]string{{"hello"}, {"a", "b", ""}, {long, "x", long}, {""}} {
			c := request()
			got := send(t, &p, c, pieces...)
			text, err := io.ReadAll(brotli.NewReader(bytes.NewReader(bytes.Join(got, nil))))
			if err != nil || string(text) != strings.Join(pieces, "") {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			h := &c.Resp.Header
			if h.Get("Content-Encoding") != "br" || h.Has("Content-Length") || c.Resp.ContentLength != -1 ||
				h.Get("ETag") != `W/"x"` || h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%v", c.Resp)
			}
		}
	}
}

// TestStreaming: what has come can be read before the rest has.
func TestStreaming(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	got := send(t, &p, request(), "first", "second")
	text := make([]byte, 5)
	if _, err := io.ReadFull(brotli.NewReader(bytes.NewReader(got[0])), text); err != nil || string(text) != "first" {
		t.Errorf("%q %v", text, err)
	}
}

func TestLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*plugins.Ctx){
		"not accepted":    func(c *plugins.Ctx) { c.Req.Header.Set("Accept-Encoding", "br;q=0, deflate") },
		"HEAD":            func(c *plugins.Ctx) { c.Req.Method = "HEAD" },
		"encoded already": func(c *plugins.Ctx) { c.Resp.Header.Set("Content-Encoding", "deflate") },
		"another type":    func(c *plugins.Ctx) { c.Resp.Header.Set("Content-Type", "image/png") },
		"too short":       func(c *plugins.Ctx) { c.Resp.ContentLength = 19 },
		"old client":      func(c *plugins.Ctx) { c.Req.Minor = 0 },
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
		c := request()
		change(c)
		before := c.Resp.ContentLength
		if got := send(t, &p, c, "hello"); string(got[0]) != "hello" || c.Resp.ContentLength != before {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for _, conf := range []string{`{"types":[]}`, `{"types":"text/html"}`, `{"comp_level":12}`, `{"http_version":2}`, `{"min_length":0}`, `{"vary":1}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Error(conf)
		}
	}
	plugintest.Build(t, &Plugin, plugintest.Env(), `{"types":"*","comp_level":9,"http_version":1.0,"min_length":1}`)
}

func BenchmarkBody(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{}`)
	body := bytes.Repeat([]byte("some text to press together, again and again. "), 200)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	c := request()
	req, resp := c.Req, *c.Resp
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Resp = &resp
		resp.Header.Reset()
		resp.Header.Set("Content-Type", "text/html")
		if err := p.DelayedHeader(c); err != nil {
			b.Fatal(err)
		}
		if _, err := p.DelayedBody(c, body, true); err != nil {
			b.Fatal(err)
		}
		p.Log(c)
	}
}
