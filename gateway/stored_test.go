package gateway_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

// TestReceived: a plugin sees what the upstream sent before anything is added
// to it, can have it asked otherwise than the client did, and its error is ours.
func TestReceived(t *testing.T) {
	seen := make(chan string, 10)
	reg := plugins.Registry{"peek": {Name: "peek", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{
				Access: func(c *plugins.Ctx) (*plugins.Reply, error) {
					c.RespHeader.Set("X-Ours", "1")
					c.UpstreamMethod = "OPTIONS"
					return nil, nil
				},
				Received: func(c *plugins.Ctx) error {
					h := &c.Resp.Header
					seen <- c.Req.Method + " " + h.Get("X-Ours") + h.Get("Server") + h.Get("Content-Type")
					if c.Path == "/fails" {
						return errors.New("no")
					}
					return nil
				},
			}, nil
		})}}
	b := start(t, reg)
	b.put(resource.Routes, "1", `{"uri":"/*","plugins":{"peek":{}},"upstream":{"nodes":{"`+echo(t)+`":1}}}`)
	status, body, h := b.get("/a")
	if what := <-seen; what != "GET text/plain; charset=utf-8" {
		t.Errorf("seen %q", what)
	}
	if status != 200 || !strings.HasPrefix(body, "OPTIONS /a ") || h.Get("X-Ours") != "1" {
		t.Errorf("%d %q %v", status, body, h)
	}
	for range 2 {
		if status, _, _ := b.get("/fails"); status != 500 {
			t.Errorf("status %d", status)
		}
	}
}

// body is a stream of the length that it tells, and says when it was closed.
type body struct {
	io.Reader
	closed chan struct{}
}

func (b *body) Close() error { close(b.closed); return nil }

// TestContent: a reply that was answered before goes out as it is, in one piece
// or as a stream, and nothing is kept open.
func TestContent(t *testing.T) {
	long := strings.Repeat("0123456789", 100_000)
	closed := make(chan struct{})
	reg := plugins.Registry{"stored": {Name: "stored", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(c *plugins.Ctx) (*plugins.Reply, error) {
				switch c.Path {
				case "/long":
					return &plugins.Reply{Status: 200, Body: &plugins.Content{Stream: &body{strings.NewReader(long), closed}, Length: int64(len(long))}}, nil
				case "/empty":
					return &plugins.Reply{Status: 404, Body: &plugins.Content{}}, nil
				}
				return &plugins.Reply{Status: 200, Body: &plugins.Content{Bytes: []byte("short")}}, nil
			}}, nil
		})}}
	b := start(t, reg)
	b.put(resource.Routes, "1", `{"uri":"/*","plugins":{"stored":{}}}`)
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/long": {200, long}, "/short.html": {200, "short"}, "/empty": {404, ""}} {
		status, got, h := b.get(path)
		if status != want.status || got != want.body || h.Get("Content-Type") != "" || h.Get("Content-Length") == "" {
			t.Errorf("%s: %d, %d bytes, %v", path, status, len(got), h)
		}
	}
	<-closed
}

// BenchmarkReply is a request answered by a plugin, over loopback.
func BenchmarkReply(b *testing.B) {
	reg := plugins.Registry{"stored": {Name: "stored", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			rep := &plugins.Reply{Status: 200, Body: &plugins.Content{Bytes: make([]byte, 1024)}}
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { return rep, nil }}, nil
		})}}
	g := start(b, reg)
	g.put(resource.Routes, "1", `{"uri":"/*","plugins":{"stored":{}}}`)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 {
				if _, err := r.Discard(1024); err != nil {
					b.Fatal(err)
				}
				break
			}
		}
	}
}
