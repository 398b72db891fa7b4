//go:build linux

package wire

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestAnswerThatDoesNotFit: an answer that the loop cannot write, since the
// client does not read, is neither lost nor in the way of other clients.
func TestAnswerThatDoesNotFit(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcde\n"), 960)
	s := &Server{Engine: Loops, Requests: -1, Handler: handlerFunc(func(x *Exchange) {
		_, _ = x.Send(&Response{Status: 200, ContentLength: int64(len(body)), Body: Bytes(body)}, nil)
	})}
	addr := serve(t, s)
	c := dial(t, addr)
	sent := 0
	for stuck := false; !stuck; {
		if sent++; sent > 10_000 {
			t.Fatal("every answer fits")
		}
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for quiet := 0; s.Stats().Requests < int64(sent) && !stuck; quiet++ {
			<-time.After(time.Millisecond)
			stuck = quiet > 100
		}
	}
	other := dial(t, addr)
	other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	other.response("GET")
	for n := range sent {
		if r, got := c.response("GET"); r.StatusCode != 200 || got != string(body) {
			t.Fatalf("answer %d of %d: %d, %d bytes", n+1, sent, r.StatusCode, len(got))
		}
	}
}

// TestClientGoneBeforeItsAnswer: a connection whose answer cannot be written ends.
func TestClientGoneBeforeItsAnswer(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-release
		}
	})
	addr, _, s := startProxy(t, Loops, up)
	var clients []*client
	for range 8 {
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.response("GET")
		c.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
		clients = append(clients, c)
	}
	eventually(t, "the requests", func() bool { return s.Stats().Writing == 8 })
	for _, c := range clients {
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	close(release)
	eventually(t, "the connections' end", func() bool { return s.Stats().Active == 0 })
}

// TestLeaveBehindTheAnswer: a handler that takes its time behind the answer does
// not keep it from the client.
func TestLeaveBehindTheAnswer(t *testing.T) {
	release := make(chan struct{})
	addr := serve(t, &Server{Engine: Loops, Handler: handlerFunc(func(x *Exchange) {
		_, _ = x.Send(&Response{Status: 200, ContentLength: 2, Body: Bytes([]byte("hi"))}, nil)
		if x.Req.Target == "/slow" {
			x.Leave()
			<-release
		}
	})})
	c := dial(t, addr)
	for _, path := range []string{"/", "/slow"} {
		c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := c.response("GET"); body != "hi" {
			t.Errorf("%s: %q", path, body)
		}
	}
	close(release)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.response("GET")
}

// TestBodiesOfTheHandler: what does not fit into one write of the loop gets to
// the upstream all the same.
func TestBodiesOfTheHandler(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	for _, size := range []int{100, 20_000, 200_000} {
		body := bytes.Repeat([]byte("x"), size)
		addr, _, _ := startProxy(t, Loops, up, func(p *proxy, _ *Server) {
			p.edit = func(_ *Exchange, out *Outgoing) {
				out.Method, out.Body, out.ContentLength = "PUT", bytes.NewReader(body), int64(size)
			}
		})
		c := dial(t, addr)
		for range 3 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, got := c.response("GET"); got != string(body) {
				t.Errorf("%d bytes came back of %d", len(got), size)
			}
		}
	}
}

// TestPanicInTheMiddle: a handler that panics when the answer is there ends its
// connections, and nothing else.
func TestPanicInTheMiddle(t *testing.T) {
	up := backend(t, func(http.ResponseWriter, *http.Request) {})
	addr, _, s := startProxy(t, Loops, up, func(p *proxy, s *Server) { s.Handler = panics{p} })
	for range 3 {
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.end()
	}
	eventually(t, "the connections' end", func() bool { return s.Stats().Active == 0 })
}

type panics struct{ *proxy }

func (panics) Resume(*Exchange) { panic("oops") }

// TestStreamedAnswersKeepTheirConnections: a client whose answers are streamed
// is served over one upstream connection, as others are.
func TestStreamedAnswersKeepTheirConnections(t *testing.T) {
	var from sync.Map
	body := bytes.Repeat([]byte("x"), 100<<10)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		from.Store(r.RemoteAddr, true)
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = w.Write(body)
	})
	for _, path := range []string{"/sized", "/chunked"} {
		from.Clear()
		addr, _, _ := startProxy(t, Loops, up)
		c := dial(t, addr)
		for range 10 {
			c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, got := c.response("GET"); got != string(body) {
				t.Errorf("%s: %d bytes", path, len(got))
			}
		}
		n := 0
		from.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("%s: %d upstream connections", path, n)
		}
	}
}
