package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
	"sluice/gateway"
	"sluice/gateway/lua"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// bench is a gateway with its configuration in memory and its own listener.
type bench struct {
	t      testing.TB
	center *memory.Center
	g      *gateway.Gateway
	lua    *lua.Host
	addr   string
}

func start(t testing.TB, reg plugins.Registry) *bench {
	t.Helper()
	names := make([]string, 0, len(reg))
	for name := range reg {
		names = append(names, name)
	}
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, center: memory.New("/apisix"), lua: lua.New(lua.Options{})}
	t.Cleanup(b.lua.Close)
	b.g = gateway.New(gateway.Options{Catalog: catalog, Lua: b.lua, Shared: &plugins.Shared{}, Mode: router.HostURI,
		ServerHeader: "APISIX/3.18.0", Keepalive: gateway.Keepalive{Idle: 320, IdleTimeout: time.Minute, Requests: 1000},
		SpoolBytes: 1 << 16, Grace: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.g.Follow(ctx, b.center) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{Handler: b.g, BadRequest: b.g.Refused, Requests: -1}
	go s.Serve(l)
	b.addr = l.Addr().String()
	t.Cleanup(func() {
		stop, c := context.WithTimeout(context.Background(), 5*time.Second)
		defer c()
		l.Close()
		s.Shutdown(stop)
		cancel()
		<-done
		b.g.Close()
	})
	return b
}

func (b *bench) put(kind resource.Kind, id, value string) {
	b.t.Helper()
	c, err := b.center.Put(context.Background(), kind, id, []byte(value), configcenter.PutOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	select {
	case <-b.g.Live(c.Mod):
	case <-time.After(10 * time.Second):
		b.t.Fatalf("revision %d never went live", c.Mod)
	}
}

func (b *bench) get(path string, header ...string) (int, string, http.Header) {
	b.t.Helper()
	req, _ := http.NewRequest("GET", "http://"+b.addr+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

func echo(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s xff=%s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestWalk(t *testing.T) {
	b := start(t, nil)
	up := echo(t)
	if status, body, h := b.get("/hello"); status != 404 || body != "{\"error_msg\":\"404 Route Not Found\"}\n" || h.Get("Server") != "APISIX/3.18.0" {
		t.Fatalf("no route: %d %q %v", status, body, h)
	}
	b.put(resource.Upstreams, "1", `{"nodes":{"`+up+`":1}}`)
	b.put(resource.Routes, "1", `{"uri":"/hello*","host":"foo.com","upstream_id":"1"}`)
	b.put(resource.Routes, "2", `{"uri":"/none","upstream_id":"7"}`)
	b.put(resource.Routes, "3", `{"uri":"/dead","upstream":{"nodes":{"127.0.0.1:1":1}}}`)
	status, body, _ := b.get("/hello/x?y=1", "Host", "foo.com")
	if status != 200 || body != "GET /hello/x?y=1 host=foo.com xff=127.0.0.1" {
		t.Errorf("hello: %d %q", status, body)
	}
	if status, _, _ := b.get("/hello", "Host", "bar.com"); status != 404 {
		t.Errorf("other host: %d", status)
	}
	if status, _, _ := b.get("/none"); status != 502 {
		t.Errorf("missing upstream: %d", status)
	}
	status, body, h := b.get("/dead")
	if status != 502 || !strings.Contains(body, "apisix.apache.org") || h.Get("X-APISIX-Upstream-Status") != "502" {
		t.Errorf("dead upstream: %d %q %v", status, body, h)
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	reg := plugins.Registry{"boom": {Name: "boom", Schema: `{"type":"object"}`,
		New: plugins.Build(func(*struct{}, *plugins.Env) (plugins.Phases, error) {
			return plugins.Phases{Access: func(*plugins.Ctx) (*plugins.Reply, error) { panic("boom") }}, nil
		})}}
	b := start(t, reg)
	b.put(resource.Routes, "1", `{"uri":"/x","plugins":{"boom":{}}}`)
	for range 2 {
		if status, _, _ := b.get("/x"); status != 500 {
			t.Fatalf("status %d", status)
		}
	}
}

// BenchmarkProxy is a whole proxied request over loopback, client and upstream
// included: what counts is the number of allocations.
func BenchmarkProxy(b *testing.B) {
	g := start(b, nil)
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer up.Close()
	go answerAll(up)
	g.put(resource.Routes, "1", `{"uri":"/hello","upstream":{"nodes":{"`+up.Addr().String()+`":1}}}`)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	req := []byte("GET /hello HTTP/1.1\r\nHost: foo.com\r\nUser-Agent: bench\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		body := false
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if body = len(line) == 2; body {
				break
			}
		}
		if _, err := r.Discard(5); err != nil {
			b.Fatal(err)
		}
	}
}

// answerAll answers every read with one response.
func answerAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
					return
				}
			}
		}()
	}
}
