package plugintest

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"sluice/plugins"
)

// Coding tests a plugin that sends bodies in a content coding.
type Coding struct {
	Plugin *plugins.Spec
	Name   string // as in Accept-Encoding
	// Reader decodes.
	Reader func(io.Reader) (io.Reader, error)
}

// request is one that accepts the coding, with an answer that may have it.
func (k *Coding) request() *plugins.Ctx {
	c := Request("GET", "/", "Accept-Encoding: deflate, "+k.Name+";q=0.5")
	Respond(c, 200, "Content-Type: text/html; charset=utf-8", "Content-Length: 100", "ETag: \"x\"").ContentLength = 100
	return c
}

// send passes pieces through p and returns what a client gets of each.
func send(t *testing.T, p *plugins.Phases, c *plugins.Ctx, pieces ...string) [][]byte {
	t.Helper()
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

// RoundTrip sends bodies in pieces, and decodes them.
func (k *Coding) RoundTrip(t *testing.T) {
	p := Build(t, k.Plugin, Env(), `{"vary":true}`)
	long := strings.Repeat("long text ", 10000)
	for range 3 { // streams are used again
		for _, pieces := range [][]string{{"hello"}, {"a", "b", ""}, {long, "x", long}, {""}} {
			c := k.request()
			r, err := k.Reader(bytes.NewReader(bytes.Join(send(t, &p, c, pieces...), nil)))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil || string(text) != strings.Join(pieces, "") {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			h := &c.Resp.Header
			if h.Get("Content-Encoding") != k.Name || h.Has("Content-Length") || c.Resp.ContentLength != -1 ||
				h.Get("ETag") != `W/"x"` || h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%v", c.Resp)
			}
		}
	}
}

// Streams wants what has come to be readable before the rest has.
func (k *Coding) Streams(t *testing.T) {
	p := Build(t, k.Plugin, Env(), `{}`)
	got := send(t, &p, k.request(), "first", "second")
	text := make([]byte, 5)
	r, err := k.Reader(bytes.NewReader(got[0]))
	if err == nil {
		_, err = io.ReadFull(r, text)
	}
	if err != nil || string(text) != "first" {
		t.Errorf("%q %v", text, err)
	}
}

// LeavesAlone wants answers as they are where each change says that they must
// not be coded; more are the plugin's own cases.
func (k *Coding) LeavesAlone(t *testing.T, more map[string]func(*plugins.Ctx)) {
	cases := map[string]func(*plugins.Ctx){
		"not accepted":    func(c *plugins.Ctx) { c.Req.Header.Set("Accept-Encoding", k.Name+";q=0, deflate") },
		"HEAD":            func(c *plugins.Ctx) { c.Req.Method = "HEAD" },
		"encoded already": func(c *plugins.Ctx) { c.Resp.Header.Set("Content-Encoding", "deflate") },
		"another type":    func(c *plugins.Ctx) { c.Resp.Header.Set("Content-Type", "image/png") },
		"too short":       func(c *plugins.Ctx) { c.Resp.ContentLength = 19 },
		"old client":      func(c *plugins.Ctx) { c.Req.Minor = 0 },
	}
	for name, change := range more {
		cases[name] = change
	}
	for name, change := range cases {
		p := Build(t, k.Plugin, Env(), `{}`)
		c := k.request()
		change(c)
		before := c.Resp.ContentLength
		if got := send(t, &p, c, "hello"); string(got[0]) != "hello" || c.Resp.ContentLength != before {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Benchmark codes a text in one piece.
func (k *Coding) Benchmark(b *testing.B) {
	p := Build(b, k.Plugin, Env(), `{}`)
	body := bytes.Repeat([]byte("some text to press together, again and again. "), 200)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	c := k.request()
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
