package wire

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engines runs f under each engine of the server.
func engines(t *testing.T, f func(t *testing.T, engine string)) {
	for _, e := range []string{Loops, Parked, Plain} {
		t.Run(e, func(t *testing.T) { f(t, e) })
	}
}

type handlerFunc func(*Exchange)

func (f handlerFunc) Serve(x *Exchange) { f(x) }

// serve runs s on a port of its own until the end of the test.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// proxy is the least gateway there can be.
type proxy struct {
	peer *Peer
	errs chan error
	edit func(x *Exchange, out *Outgoing)
}

func (p *proxy) Serve(x *Exchange) {
	r := &x.Req
	out := Outgoing{Method: r.Method, URI: r.Target, Host: r.Host, Header: &r.Header, Body: r.Body,
		ContentLength: r.ContentLength, Trailer: &r.Trailer, Upgrade: r.Upgrade,
		Connect: 5 * time.Second, Send: 10 * time.Second, Read: 10 * time.Second}
	if p.edit != nil {
		p.edit(x, &out)
	}
	_, err := p.peer.Do(x, &out, &x.Resp)
	p.respond(x, err)
}

func (p *proxy) Resume(x *Exchange) {
	_, err := x.Answer()
	p.respond(x, err)
}

func (p *proxy) respond(x *Exchange, err error) {
	switch {
	case err == ErrPending:
		return
	case err != nil:
		p.note(err)
		resp := Response{Status: 502, ContentLength: 4, Body: Bytes([]byte("bad\n"))}
		_, _ = x.Send(&resp, nil)
		return
	}
	if x.Resp.Status == 101 {
		_, _ = x.Tunnel(&x.Resp, x.Resp.Body.(io.ReadWriteCloser))
		return
	}
	if _, err := x.Send(&x.Resp, nil); err != nil {
		p.note(err)
	}
}

func (p *proxy) note(err error) {
	select {
	case p.errs <- err:
	default:
	}
}

// startProxy runs a proxy before upstream and returns its address.
func startProxy(t testing.TB, engine, upstream string, with ...func(*proxy, *Server)) (string, *proxy, *Server) {
	t.Helper()
	p := &proxy{peer: NewPeer(PeerOptions{Addr: upstream, Idle: 16, IdleTimeout: time.Minute}), errs: make(chan error, 16)}
	s := &Server{Handler: p, Engine: engine}
	for _, f := range with {
		f(p, s)
	}
	t.Cleanup(p.peer.Close)
	return serve(t, s), p, s
}

// backend is an upstream made of net/http.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

// client is a raw connection with a reader.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// response reads one response, whose body is read too.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("body: %v after %q", err, b)
	}
	return r, string(b)
}

// end expects the connection's end.
func (c *client) end() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Fatalf("want the end of the connection, got %q, %v", b, err)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
	}
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Uri", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	_, _ = w.Write(b)
}

func TestProxyBodies(t *testing.T) {
	up := backend(t, echo)
	big := strings.Repeat("0123456789abcdef", 100<<10/16)
	huge := strings.Repeat("0123456789abcdef", 3<<20/16)
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := &http.Client{Transport: &http.Transport{}}
		defer c.CloseIdleConnections()
		for _, body := range []string{"", "hello", big, huge} {
			for _, chunked := range []bool{false, true} {
				var r io.Reader = strings.NewReader(body)
				if chunked {
					r = io.MultiReader(r)
				}
				for range 3 {
					resp, err := c.Post("http://"+addr+"/a?b=c", "text/plain", r)
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(b) != body || resp.Header.Get("X-Uri") != "/a?b=c" {
						t.Fatalf("%d bytes, chunked %v: got %d bytes, %v, %v", len(body), chunked, len(b), err, resp)
					}
					r = strings.NewReader(body)
				}
			}
		}
	})
}

// dialOnce is the DialContext of a client that has one connection.
func dialOnce(nc net.Conn) func(context.Context, string, string) (net.Conn, error) {
	used := false
	return func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, net.ErrClosed
		}
		used = true
		return nc, nil
	}
}
