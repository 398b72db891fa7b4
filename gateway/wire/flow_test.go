package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// raw is an upstream that hands each connection to f.
func raw(t testing.TB, f func(nc net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			f(nc, bufio.NewReader(nc))
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestContinue(t *testing.T) {
	up := backend(t, echo)
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			c := dial(t, addr)
			c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + framing + "\r\n\r\n")
			if r, err := http.ReadResponse(c.r, nil); err != nil || r.StatusCode != 100 {
				t.Fatalf("%v, %v", r, err)
			}
			if strings.HasPrefix(framing, "C") {
				c.send("hello")
			} else {
				c.send("5\r\nhello\r\n0\r\n\r\n")
			}
			if r, b := c.response("POST"); r.StatusCode != 200 || b != "hello" {
				t.Fatalf("%s: %d %q", framing, r.StatusCode, b)
			}
			c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if r, _ := c.response("GET"); r.StatusCode != 200 {
				t.Fatal(r.Status)
			}
			c.end()
		}
	})
}

func TestContinueNotWanted(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		addr := serve(t, &Server{Engine: engine, Timeouts: Timeouts{Linger: 20 * time.Millisecond}, Handler: handlerFunc(func(x *Exchange) {
			_, _ = x.Send(&Response{Status: 403}, nil)
		})})
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if r, _ := c.response("POST"); r.StatusCode != 403 || !r.Close {
			t.Fatalf("%d, close %v", r.StatusCode, r.Close)
		}
		c.end()
	})
}

func TestUnreadBodyIsDiscarded(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		addr := serve(t, &Server{Engine: engine, Handler: handlerFunc(func(x *Exchange) {
			_, _ = x.Send(&Response{Status: 403}, nil)
		})})
		c := dial(t, addr)
		body := strings.Repeat("x", 100<<10)
		for range 2 {
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			if r, _ := c.response("POST"); r.StatusCode != 403 || r.Close {
				t.Fatalf("%d, close %v", r.StatusCode, r.Close)
			}
		}
	})
}

func TestEarlyHints(t *testing.T) {
	up := raw(t, func(nc net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
	})
	engines(t, func(t *testing.T, engine string) {
		addr, p, _ := startProxy(t, engine, up)
		defer p.peer.Close()
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := http.ReadResponse(c.r, nil)
		if err != nil || r.StatusCode != 103 || r.Header.Get("Link") != "</a.css>" {
			t.Fatalf("%v, %v", r, err)
		}
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "hi" {
			t.Fatalf("%d %q", r.StatusCode, b)
		}
		c.send("GET / HTTP/1.0\r\n\r\n") // knows no interim answers
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "hi" {
			t.Fatalf("%d %q", r.StatusCode, b)
		}
	})
}

func TestUpgrade(t *testing.T) {
	up := raw(t, func(nc net.Conn, r *bufio.Reader) {
		q, err := http.ReadRequest(r)
		if err != nil || q.Header.Get("Upgrade") != "echo" || !strings.EqualFold(q.Header.Get("Connection"), "upgrade") {
			_, _ = io.WriteString(nc, "HTTP/1.1 400 Bad\r\n\r\n")
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nwelcome ")
		_, _ = io.Copy(nc, r)
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nfirst ")
		r, err := http.ReadResponse(c.r, nil)
		if err != nil || r.StatusCode != 101 || r.Header.Get("Upgrade") != "echo" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			t.Fatalf("%v, %v", r, err)
		}
		c.send("second")
		b := make([]byte, len("welcome first second"))
		if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "welcome first second" {
			t.Fatalf("%q, %v", b, err)
		}
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		c.end()
	})
}

func TestUpgradeOfCleartextHTTP2IsNotPassedOn(t *testing.T) {
	seen := make(chan http.Header, 2)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header })
	addr, _, _ := startProxy(t, Loops, up)
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	c.response("GET")
	if h := <-seen; h.Get("Upgrade") != "" || h.Get("Http2-Settings") != "" || h.Get("Connection") != "" {
		t.Errorf("%v", h)
	}
}

func TestTrailers(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-In")+"!")
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n"
		for _, parts := range [][]string{
			{head + "2\r\nhi\r\n0\r\nX-In: 7\r\n\r\n"},
			{head, "2\r\nh", "i\r\n0\r\nX-I", "n: 7\r\n", "\r\n"},
		} {
			for _, p := range parts {
				c.send(p)
			}
			r, b := c.response("POST")
			if b != "hi" || r.Trailer.Get("X-Sum") != "7!" {
				t.Fatalf("%q, trailer %v", b, r.Trailer)
			}
		}
	})
}

func TestEarlyAnswerDuringUpload(t *testing.T) {
	up := raw(t, func(nc net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
		if r, b := c.response("POST"); r.StatusCode != 413 || b != "no\n" || !r.Close {
			t.Fatalf("%d %q, close %v", r.StatusCode, b, r.Close)
		}
	})
}

// TestBothWaysAtOnce sends pieces of a request while pieces of its answer arrive.
func TestBothWaysAtOnce(t *testing.T) {
	up := raw(t, func(nc net.Conn, r *bufio.Reader) {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
		_, _ = io.Copy(nc, q.Body)
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		r, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		for range 3 {
			c.send("5\r\nhello\r\n")
			if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "hello" {
				t.Fatalf("%q, %v", b, err)
			}
		}
		c.send("0\r\n\r\n")
		if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
			t.Fatalf("%q, %v", rest, err)
		}
	})
}

func TestPiecesAtOnce(t *testing.T) {
	for _, framing := range []string{"Transfer-Encoding: chunked\r\n", "Content-Length: 9\r\n", ""} {
		next := make(chan struct{})
		up := raw(t, func(nc net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n"+framing+"\r\n")
			for range 3 {
				<-next
				if framing != "" && framing[0] == 'T' {
					_, _ = io.WriteString(nc, "3\r\nabc\r\n")
				} else {
					_, _ = io.WriteString(nc, "abc")
				}
			}
			if framing != "" && framing[0] == 'T' {
				_, _ = io.WriteString(nc, "0\r\n\r\n")
			}
		})
		engines(t, func(t *testing.T, engine string) {
			addr, _, _ := startProxy(t, engine, up)
			c := dial(t, addr)
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			r, err := http.ReadResponse(c.r, nil) // before any piece was sent
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 3)
			for range 3 {
				next <- struct{}{}
				if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "abc" {
					t.Fatalf("%q, %v", b, err)
				}
			}
			if _, err := io.ReadFull(r.Body, b); err != io.EOF {
				t.Fatal(err)
			}
		})
	}
}

func TestHead(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1234")
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		for range 2 {
			c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
			if r, b := c.response("HEAD"); r.ContentLength != 1234 || b != "" || r.Close {
				t.Fatalf("%d %q, close %v", r.ContentLength, b, r.Close)
			}
		}
	})
}

// TestHeadRewritten: what the handler makes of the method changes nothing of
// what the client waits for.
func TestHeadRewritten(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		_, _ = io.WriteString(w, "text")
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up, func(p *proxy, _ *Server) {
			p.edit = func(x *Exchange, out *Outgoing) {
				x.Req.Method = map[string]string{"GET": "HEAD", "HEAD": "GET"}[x.Req.Method]
				out.Method = x.Req.Method
			}
		})
		c := dial(t, addr)
		for _, method := range []string{"HEAD", "GET", "HEAD"} {
			c.send(method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
			if r, b := c.response(method); r.StatusCode != 200 || b != "" {
				t.Fatalf("%s: %d %q", method, r.StatusCode, b)
			}
		}
	})
}

func TestClientAbort(t *testing.T) {
	for _, how := range []string{"reset", "close"} {
		gone := make(chan struct{}, 1)
		started := make(chan struct{}, 1)
		up := backend(t, func(w http.ResponseWriter, r *http.Request) {
			started <- struct{}{}
			<-r.Context().Done()
			gone <- struct{}{}
		})
		engines(t, func(t *testing.T, engine string) {
			addr, p, _ := startProxy(t, engine, up, func(_ *proxy, s *Server) { s.Timeouts.HalfClosed = 100 * time.Millisecond })
			c := dial(t, addr)
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			<-started
			if how == "reset" {
				_ = c.Conn.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
			<-gone
			var e *Error
			if err := <-p.errs; !errors.As(err, &e) || e.Side != Client || e.Kind != Aborted {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestHalfClosedClientGetsItsAnswer(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		_, _ = io.WriteString(w, "late")
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, s := startProxy(t, engine, up)
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		eventually(t, "the request is on its way", func() bool { return s.Stats().Writing == 1 })
		release <- struct{}{}
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "late" {
			t.Fatalf("%d %q", r.StatusCode, b)
		}
		c.end()
	})
}

func TestStalePool(t *testing.T) {
	conns := make(chan net.Conn, 8)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				r := bufio.NewReader(nc)
				q, err := http.ReadRequest(r)
				if err != nil {
					nc.Close()
					return
				}
				_, _ = io.Copy(io.Discard, q.Body)
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
				conns <- nc
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	engines(t, func(t *testing.T, engine string) {
		addr, p, _ := startProxy(t, engine, ln.Addr().String())
		c := dial(t, addr)
		for _, q := range []struct {
			method string
			unused int64 // how long the connection seems to have been
		}{{"GET", 2 * peekAfter}, {"POST", 2 * peekAfter}, {"POST", 0}, {"PATCH", 0}, {"GET", 0}, {"GET", 0}} {
			c.send(q.method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok")
			if r, b := c.response(q.method); r.StatusCode != 200 || b != "hi" {
				t.Fatalf("%s on a connection closed by the server: %d %q", q.method, r.StatusCode, b)
			}
			(<-conns).Close() // while it is idle at the proxy
			var u *upConn
			for i := range p.peer.kept {
				k := &p.peer.kept[i]
				k.mu.Lock()
				for _, u = range k.idle {
					u.idleSince -= q.unused
					if q.unused == 0 {
						u.idleSince += int64(time.Minute) // used just now, however slow the test is
					}
				}
				k.mu.Unlock()
			}
			eventually(t, "the end has arrived", func() bool { return !u.fresh() })
		}
	})
}

// TestStaleWithoutLook closes the connection when the request arrives on it.
func TestStaleWithoutLook(t *testing.T) {
	first := true
	up := raw(t, func(nc net.Conn, r *bufio.Reader) {
		_, err := http.ReadRequest(r)
		for n := 0; err == nil; n++ {
			if n == 1 && first {
				first = false
				return // the second request of the first connection is not answered
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
			_, err = http.ReadRequest(r)
		}
	})
	addr, _, _ := startProxy(t, Loops, up)
	c := dial(t, addr)
	for range 3 {
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r, b := c.response("GET"); r.StatusCode != 200 || b != "hi" {
			t.Fatalf("%d %q", r.StatusCode, b)
		}
	}
}

func TestTimeouts(t *testing.T) {
	up := raw(t, func(nc net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	engines(t, func(t *testing.T, engine string) {
		addr, p, _ := startProxy(t, engine, up, func(p *proxy, _ *Server) {
			p.edit = func(_ *Exchange, out *Outgoing) { out.Read = 30 * time.Millisecond }
		})
		for range 2 {
			c := dial(t, addr)
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if r, _ := c.response("GET"); r.StatusCode != 502 {
				t.Fatal(r.Status)
			}
			var e *Error
			if err := <-p.errs; !errors.As(err, &e) || e.Side != Upstream || e.Kind != Timeout || e.Retry != No {
				t.Errorf("%+v", e)
			}
			c.Close()
		}
	})
}

func TestRefusedConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	addr, p, _ := startProxy(t, Loops, ln.Addr().String())
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.response("GET")
	var e *Error
	if err := <-p.errs; !errors.As(err, &e) || e.Side != Upstream || e.Kind != Connect || e.Retry != Yes {
		t.Errorf("%v", err)
	}
}

func TestClientTimeouts(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		errs := make(chan *Error, 8)
		addr := serve(t, &Server{Engine: engine,
			Timeouts: Timeouts{Header: 40 * time.Millisecond, Idle: 40 * time.Millisecond, Body: 40 * time.Millisecond, Linger: time.Millisecond},
			OnError:  func(_ net.Addr, e *Error) { errs <- e },
			Handler: handlerFunc(func(x *Exchange) {
				_, err := io.ReadAll(x.Req.Body)
				var e *Error
				if errors.As(err, &e) && e.Kind == Timeout {
					_, _ = x.Send(&Response{Status: 408}, nil)
					return
				}
				_, _ = x.Send(&Response{Status: 200}, nil)
			})})
		idle := dial(t, addr)
		idle.end() // closed without a word
		head := dial(t, addr)
		head.send("GET / HTTP/1.1\r\nHo")
		head.end()
		if e := <-errs; e.Side != Client || e.Kind != Timeout {
			t.Errorf("%v", e)
		}
		body := dial(t, addr)
		body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
		if r, _ := body.response("POST"); r.StatusCode != 408 || !r.Close {
			t.Errorf("%v", r.Status)
		}
		kept := dial(t, addr)
		kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		kept.response("GET")
		kept.end()
	})
}

func TestLimits(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		addr := serve(t, &Server{Engine: engine, Timeouts: Timeouts{Linger: time.Millisecond}, Handler: handlerFunc(func(x *Exchange) {
			_, _ = x.Send(&Response{Status: 200}, nil)
		})})
		for _, tt := range []struct {
			head string
			want int
		}{
			{"GET /" + strings.Repeat("x", 8000) + " HTTP/1.1\r\nHost: a\r\n", 200},
			{"GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: a\r\n", 414},
			{"GET /" + strings.Repeat("x", 40000), 414},
			{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 8000) + "\r\n", 200},
			{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 9000) + "\r\n", 400},
			{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+strings.Repeat("x", 7000)+"\r\n", 4), 200},
			{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+strings.Repeat("x", 7000)+"\r\n", 5), 400},
			{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 255), 200},
			{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300), 400},
		} {
			c := dial(t, addr)
			c.send(tt.head + "\r\n")
			if r, _ := c.response("GET"); r.StatusCode != tt.want {
				t.Errorf("%.30s… (%d bytes): %d, want %d", tt.head, len(tt.head), r.StatusCode, tt.want)
			}
			c.Close()
		}
	})
}

func TestByteByByte(t *testing.T) {
	up := backend(t, echo)
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		_ = c.Conn.(*net.TCPConn).SetNoDelay(true)
		msg := "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e\r\nhello\r\n0\r\nT: 1\r\n\r\n"
		for range 2 {
			for i := range len(msg) {
				c.send(msg[i : i+1])
			}
			if r, b := c.response("POST"); r.StatusCode != 200 || b != "hello" {
				t.Fatalf("%d %q", r.StatusCode, b)
			}
		}
	})
}

func TestShutdown(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		entered, release := make(chan struct{}), make(chan struct{})
		s := &Server{Engine: engine, Handler: handlerFunc(func(x *Exchange) {
			if x.Req.Target == "/wait" {
				entered <- struct{}{}
				<-release
			}
			_, _ = x.Send(&Response{Status: 200}, nil)
		})}
		addr := serve(t, s)
		idle, busy := dial(t, addr), dial(t, addr)
		idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		idle.response("GET")
		busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		idle.end()
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("still accepts")
		}
		close(release)
		if r, _ := busy.response("GET"); !r.Close {
			t.Error("connection is kept")
		}
		busy.end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownByForce(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		entered := make(chan struct{})
		s := &Server{Engine: engine, Handler: handlerFunc(func(x *Exchange) {
			entered <- struct{}{}
			<-x.Context.Done()
			if x.Context.Err() != context.Canceled {
				t.Error(x.Context.Err())
			}
		})}
		addr := serve(t, s)
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Shutdown(ctx); err != context.Canceled {
			t.Error(err)
		}
		c.end()
	})
}

func TestPanic(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		errs := make(chan *Error, 1)
		addr := serve(t, &Server{Engine: engine, Handler: handlerFunc(func(*Exchange) { panic("oops") }),
			OnError: func(_ net.Addr, e *Error) { errs <- e }})
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.end()
		if e := <-errs; e.Side != Us || !strings.Contains(e.Error(), "oops") {
			t.Error(e)
		}
	})
}

func TestRequestsPerConnection(t *testing.T) {
	addr := serve(t, &Server{Requests: 2, Handler: handlerFunc(func(x *Exchange) { _, _ = x.Send(&Response{Status: 204}, nil) })})
	c := dial(t, addr)
	c.send(strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3))
	if r, _ := c.response("GET"); r.Close {
		t.Error("closed too early")
	}
	if r, _ := c.response("GET"); !r.Close {
		t.Error("kept for too long")
	}
	c.end()
}

// TestShortBodyInOnePiece: the upstream gets a request with a short body at
// once, however it came and whoever looked at its beginning.
func TestShortBodyInOnePiece(t *testing.T) {
	got := make(chan string, 1)
	up := raw(t, func(nc net.Conn, _ *bufio.Reader) {
		b := make([]byte, 64<<10)
		n, _ := nc.Read(b)
		got <- string(b[:n])
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	})
	body := strings.Repeat("0123456789", 1000)
	engines(t, func(t *testing.T, engine string) {
		for name, edit := range map[string]func(x *Exchange, out *Outgoing){
			"untouched": nil,
			"looked at": func(x *Exchange, out *Outgoing) {
				head := make([]byte, 100)
				if _, err := io.ReadFull(x.Req.Body, head); err != nil {
					t.Error(err)
				}
				out.Body = Rejoin(head, x.Req.Body)
			},
		} {
			addr, _, _ := startProxy(t, engine, up, func(p *proxy, _ *Server) { p.edit = edit })
			for _, pieces := range [][]string{{body}, {"", body}, {body[:5], body[5:900], body[900:]}} {
				c := dial(t, addr)
				rest := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\nConnection: close\r\n\r\n"
				for _, piece := range pieces {
					c.send(rest + piece)
					rest = ""
					<-time.After(5 * time.Millisecond) // so that they arrive one by one
				}
				if in := <-got; !strings.HasSuffix(in, "\r\n\r\n"+body) {
					t.Errorf("%s, %d pieces: %d bytes came first", name, len(pieces), len(in))
				}
				if r, b := c.response("POST"); r.StatusCode != 200 || b != "ok" {
					t.Errorf("%s, %d pieces: %d %q", name, len(pieces), r.StatusCode, b)
				}
			}
		}
	})
}
