package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestHopByHopFields(t *testing.T) {
	seen := make(chan http.Header, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		h := w.Header()
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=1")
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("X-End", "2")
	})
	engines(t, func(t *testing.T, engine string) {
		inside := make(chan string, 1)
		addr, _, _ := startProxy(t, engine, up, func(p *proxy, _ *Server) {
			p.edit = func(x *Exchange, _ *Outgoing) {
				var names []string
				for n := range x.Req.Header.All() {
					names = append(names, strings.Clone(n))
				}
				inside <- strings.Join(names, " ")
			}
		})
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop, X-Forwarded-For, cookie, X-Real-IP, authorization, keep-alive\r\n" +
			"Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: gzip, trailers;q=1, trailers\r\nX-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\n" +
			"Cookie: c\r\nX-Real-IP: 5.6.7.8\r\nAuthorization: z\r\nExpect: nothing\r\nX-End: 2\r\n\r\n")
		r, _ := c.response("GET")
		if got, want := <-inside, "TE X-Forwarded-For Cookie X-Real-IP Authorization X-End"; got != want {
			t.Errorf("handler saw %s, want %s", got, want)
		}
		h := <-seen
		if h.Get("X-Hop") != "" || h.Get("X-End") != "2" || h.Get("Te") != "trailers" || h.Get("X-Forwarded-For") != "1.2.3.4" || h.Get("Connection") != "" {
			t.Errorf("upstream saw %v", h)
		}
		if r.Header.Get("X-Hop") != "" || r.Header.Get("Keep-Alive") != "" || r.Header.Get("X-End") != "2" || r.Header.Get("Proxy-Authenticate") != "Basic" {
			t.Errorf("client got %v", r.Header)
		}
		if r.Header.Get("Date") == "" || len(r.Header.Values("Date")) != 1 {
			t.Errorf("Date %q", r.Header.Values("Date"))
		}
	})
}

func TestNothingIsInjected(t *testing.T) {
	seen := make(chan *http.Request, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { seen <- r })
	addr, _, _ := startProxy(t, Loops, up, func(p *proxy, _ *Server) {
		p.edit = func(x *Exchange, out *Outgoing) {
			x.Req.Header.Set("X-A", "1\r\nX-B: 2\x00\n\n")
			x.Req.Header.Set("X-C\r\nX-D", "3")
			x.Req.Header.Set("Content-Length", "99")
			x.Req.Header.Set("Transfer-Encoding", "chunked")
			x.Req.Header.Set("Connection", "upgrade")
			out.URI = "/a b\r\nX-E: 1\r\n\r\n"
			out.Host = "h\r\nX-F: 1"
		}
	})
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.response("GET")
	r := <-seen
	if r.RequestURI != "/a%20b%0D%0AX-E:%201%0D%0A%0D%0A" || r.Host != "hX-F:1" || r.ContentLength != 0 ||
		len(r.Header) != 2 || // Content-Length: 0 is the second
		r.Header.Get("X-A") != "1X-B: 2" {
		t.Errorf("%q %q %d %v", r.RequestURI, r.Host, r.ContentLength, r.Header)
	}

	addr = serve(t, &Server{Handler: handlerFunc(func(x *Exchange) {
		resp := Response{Status: 200}
		resp.Header.Set("X-A", "1\r\nX-B: 2")
		resp.Header.Set("X:C", "1")
		resp.Header.Set("Content-Length", "99")
		resp.Header.Set("Transfer-Encoding", "chunked")
		_, _ = x.Send(&resp, nil)
	})})
	c = dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r, b := c.response("GET"); r.Header.Get("X-A") != "1X-B: 2" || len(r.Header) != 4 || b != "" || r.ContentLength != 0 {
		t.Errorf("%v %q", r.Header, b)
	}
}

func TestBodyFilter(t *testing.T) {
	next := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/empty":
		case "/small":
			_, _ = io.WriteString(w, "abc")
		case "/pieces":
			for range 3 {
				_, _ = io.WriteString(w, "abc")
				_ = http.NewResponseController(w).Flush()
				<-next
			}
		case "/big":
			w.Header().Set("Content-Length", "200000")
			_, _ = w.Write(make([]byte, 200000))
		}
	})
	engines(t, func(t *testing.T, engine string) {
		p := NewPeer(PeerOptions{Addr: up, Idle: 2})
		defer p.Close()
		lasts := make(chan int, 1)
		addr := serve(t, &Server{Engine: engine, Handler: handlerFunc(func(x *Exchange) {
			r := &x.Req
			out := Outgoing{Method: r.Method, URI: r.Target, Host: r.Host, Header: &r.Header}
			if _, err := p.Do(x, &out, &x.Resp); err != nil {
				t.Error(err)
			}
			x.Resp.ContentLength = -1
			n := 0
			_, err := x.Send(&x.Resp, func(piece []byte, last bool) ([]byte, error) {
				if last {
					n++
					return append(piece, "END"...), nil
				}
				return append([]byte("<"), piece...), nil
			})
			if err != nil {
				t.Error(err)
			}
			lasts <- n
		})})
		c := dial(t, addr)
		for _, path := range []string{"/empty", "/small", "/pieces", "/big"} {
			c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			if path == "/pieces" {
				for range 3 {
					next <- struct{}{}
				}
			}
			_, b := c.response("GET")
			if !strings.HasSuffix(b, "END") || <-lasts != 1 {
				t.Errorf("%s: %.100q", path, b)
			}
			if path == "/small" && b != "abcEND" {
				t.Errorf("%q", b)
			}
		}
	})
}

func TestFilterBeyondTheLength(t *testing.T) {
	addr := serve(t, &Server{Handler: handlerFunc(func(x *Exchange) {
		resp := Response{Status: 200, ContentLength: 3, Body: Bytes([]byte("abc"))}
		_, err := x.Send(&resp, func(p []byte, _ bool) ([]byte, error) { return append(p, "HTTP/1.1 200 OK"...), nil })
		var e *Error
		if !errors.As(err, &e) || e.Side != Us {
			t.Errorf("%v", err)
		}
	})})
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b, _ := io.ReadAll(c.r); strings.Contains(string(b), "200 OKHTTP") {
		t.Errorf("%q", b)
	}
}

func TestSendTwice(t *testing.T) {
	addr := serve(t, &Server{Handler: handlerFunc(func(x *Exchange) {
		if s, err := x.Send(&Response{Status: 200, ContentLength: 2, Body: Bytes([]byte("ok"))}, nil); err != nil || s.Body != 2 || s.Total < 60 {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := x.Send(&Response{Status: 500}, nil); err == nil {
			t.Error("second answer was taken")
		}
	})})
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n")
	for range 2 {
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "ok" {
			t.Error(r.Status)
		}
	}
	c.end()
}

func TestBadRequestHook(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		errs := make(chan *Error, 1)
		addr := serve(t, &Server{Engine: engine, Timeouts: Timeouts{Linger: time.Millisecond},
			Handler: handlerFunc(func(*Exchange) { t.Error("handler was called") }),
			OnError: func(_ net.Addr, e *Error) { errs <- e },
			BadRequest: func(x *Exchange, status int) *Response {
				r := &Response{Status: status, ContentLength: 4, Body: Bytes([]byte("page"))}
				r.Header.Set("Server", "gate")
				return r
			}})
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\n\r\n")
		if r, b := c.response("GET"); r.StatusCode != 400 || b != "page" || r.Header.Get("Server") != "gate" || !r.Close {
			t.Errorf("%v %q", r, b)
		}
		if e := <-errs; e.Side != Client || e.Kind != Malformed {
			t.Error(e)
		}
	})
}

func TestTruncatedUpstreamBody(t *testing.T) {
	for _, head := range []string{"Content-Length: 50000", "Transfer-Encoding: chunked\r\nX: y"} {
		texts := make(chan string, 1)
		up := scripted(t, texts)
		engines(t, func(t *testing.T, engine string) {
			addr, p, _ := startProxy(t, engine, up)
			c := dial(t, addr)
			texts <- "HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n5\r\nhello\r\n"
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			r, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("the client cannot tell that the body is cut off")
			}
			var e *Error
			if err := <-p.errs; !errors.As(err, &e) || e.Side != Upstream || e.Kind != Closed {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestConnectionContext(t *testing.T) {
	var c connContext
	ran := make(chan struct{})
	stop := c.AfterFunc(func() { t.Error("stopped, but ran") })
	if !stop() || stop() {
		t.Error("stop")
	}
	c.AfterFunc(func() { close(ran) })
	child, cancel := context.WithCancel(&c)
	defer cancel()
	if c.Err() != nil || child.Err() != nil {
		t.Error("ended at once")
	}
	c.cancel()
	c.cancel()
	<-c.Done()
	<-child.Done()
	<-ran
	if c.Err() != context.Canceled {
		t.Error(c.Err())
	}
}

func TestStats(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := &Server{Handler: handlerFunc(func(x *Exchange) {
		entered <- struct{}{}
		<-release
		_, _ = x.Send(&Response{Status: 204}, nil)
	})}
	addr := serve(t, s)
	idle, busy, half := dial(t, addr), dial(t, addr), dial(t, addr)
	_ = idle
	busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	half.send("GET /")
	want := Stats{Accepted: 3, Handled: 3, Requests: 1, Active: 3, Reading: 1, Writing: 1, Waiting: 1}
	eventually(t, "the counts", func() bool { return s.Stats() == want })
	close(release)
	busy.response("GET")
}

func TestIdleConnectionsMoveToSmallStacks(t *testing.T) {
	s := &Server{Handler: handlerFunc(func(x *Exchange) { _, _ = x.Send(&Response{Status: 204}, nil) }),
		Timeouts: Timeouts{HalfClosed: 40 * time.Millisecond, Idle: time.Minute}, Engine: Parked}
	addr := serve(t, s)
	c := dial(t, addr)
	for i := range 2 {
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.response("GET")
		eventually(t, "the move", func() bool { return s.moved.Load() == int64(i+1) })
	}
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.response("GET")
}

func TestForgottenResponseIsGivenUp(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "500000")
		_, _ = w.Write(make([]byte, 500000))
	})
	engines(t, func(t *testing.T, engine string) {
		p := NewPeer(PeerOptions{Addr: up, Idle: 2})
		defer p.Close()
		addr := serve(t, &Server{Engine: engine, Handler: handlerFunc(func(x *Exchange) {
			for range 2 { // the second try gives up the first answer
				out := Outgoing{Method: "GET", URI: "/", Host: "a", Header: &Header{}}
				if _, err := p.Do(x, &out, &x.Resp); err != nil {
					t.Error(err)
				}
			}
			_, _ = x.Send(&Response{Status: 204}, nil)
		})})
		c := dial(t, addr)
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if r, _ := c.response("GET"); r.StatusCode != 204 || r.Close {
				t.Error(r.Status)
			}
		}
	})
}

func TestBodiesInMemory(t *testing.T) {
	up := backend(t, echo)
	p := NewPeer(PeerOptions{Addr: up, Idle: 2})
	defer p.Close()
	for _, n := range []int{0, 1, 20 << 10, 100 << 10, 2 << 20} {
		body := bytes.NewReader(bytes.Repeat([]byte("x"), n))
		out := &Outgoing{Method: "POST", URI: "/", Host: "a", Header: &Header{}, Body: body, ContentLength: int64(n)}
		for range 2 { // the reader is not used up
			resp := &Response{}
			if _, err := p.Do(&Exchange{Context: t.Context()}, out, resp); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body.Close() // twice is once
			if err != nil || len(b) != n || resp.Header.Get("X-Method") != "POST" || !Replayable(out) {
				t.Fatalf("%d bytes: got %d, %v", n, len(b), err)
			}
		}
	}
}

func TestIdleLimitsOfPeer(t *testing.T) {
	up := backend(t, echo)
	get := func(p *Peer) Timing {
		resp := &Response{}
		tm, err := p.Do(&Exchange{}, &Outgoing{Method: "GET", URI: "/", Host: "a", Header: &Header{}}, resp)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return tm
	}
	none := NewPeer(PeerOptions{Addr: up})
	get(none)
	if get(none).Reused {
		t.Error("kept without leave")
	}
	twice := NewPeer(PeerOptions{Addr: up, Idle: 1, Requests: 2})
	defer twice.Close()
	if get(twice).Reused || !get(twice).Reused || get(twice).Reused {
		t.Error("not two requests per connection")
	}
	short := NewPeer(PeerOptions{Addr: up, Idle: 1, IdleTimeout: 10 * time.Millisecond})
	defer short.Close()
	get(short)
	eventually(t, "the reaper", func() bool { return short.idle() == 0 })
}

// idle is how many connections p keeps.
func (p *Peer) idle() (n int) {
	for i := range p.kept {
		s := &p.kept[i]
		s.mu.Lock()
		n += len(s.idle)
		s.mu.Unlock()
	}
	return n
}

func TestServeConn(t *testing.T) {
	s := &Server{Handler: handlerFunc(func(x *Exchange) {
		_, _ = x.Send(&Response{Status: 200, ContentLength: 2, Body: Bytes([]byte("ok"))}, nil)
	})}
	serve(t, s)
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.ServeConn(theirs) }()
	c := &client{t, ours, bufio.NewReader(ours)}
	for _, conn := range []string{"keep-alive", "close"} {
		c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: " + conn + "\r\n\r\n")
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "ok" {
			t.Errorf("%d %q", r.StatusCode, b)
		}
	}
	<-done
	ours.Close()
}
