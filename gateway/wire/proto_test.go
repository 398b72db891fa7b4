package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// pair returns a TLS configuration of a server and one of a client that trusts it.
func pair(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	cert := s.TLS.Certificates[0]
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	s.Close()
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func TestTLSBothSides(t *testing.T) {
	sc, cc := pair(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := &http.Server{Handler: http.HandlerFunc(echo), TLSConfig: sc}
	upDone := make(chan struct{})
	go func() { defer close(upDone); _ = up.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { up.Close(); <-upDone })
	p := &proxy{peer: NewPeer(PeerOptions{Addr: ln.Addr().String(), TLS: cc, Idle: 4, IdleTimeout: time.Minute}), errs: make(chan error, 4)}
	t.Cleanup(p.peer.Close)
	sawTLS := make(chan bool, 8)
	s := &Server{Handler: handlerFunc(func(x *Exchange) {
		sawTLS <- x.Req.TLS != nil && x.Req.TLS.HandshakeComplete
		p.Serve(x)
	})}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(tls.NewListener(front, sc)) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-done
	})
	tr := &http.Transport{TLSClientConfig: cc}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for _, body := range []string{"x", strings.Repeat("y", 1<<20)} {
		r, err := c.Post("https://"+front.Addr().String()+"/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || string(b) != body {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if !<-sawTLS {
			t.Error("no TLS state")
		}
	}
}

func TestHandshakeError(t *testing.T) {
	sc, _ := pair(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", sc)
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
			_, _ = nc.Read(make([]byte, 1))
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	for _, h2 := range []bool{false, true} {
		p := NewPeer(PeerOptions{Addr: ln.Addr().String(), TLS: &tls.Config{ServerName: "other.example"}, HTTP2: h2})
		_, err := p.Do(&Exchange{}, &Outgoing{Method: "GET", URI: "/", Host: "a", Header: &Header{}}, &Response{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Handshake || e.Side != Upstream || e.Retry != Yes {
			t.Errorf("http2 %v: %v", h2, err)
		}
		p.Close()
	}
}

func TestClearTextHTTP2IsHandedOver(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		h2 := &http2.Server{}
		addr := serve(t, &Server{Engine: engine,
			Handler: handlerFunc(func(x *Exchange) { _, _ = x.Send(&Response{Status: 204}, nil) }),
			H2C: func(nc net.Conn) {
				h2.ServeConn(nc, &http2.ServeConnOpts{Handler: http.HandlerFunc(echo)})
			}})
		tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, n, a string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, n, a)
		}}
		r, err := (&http.Client{Transport: tr}).Post("http://"+addr+"/", "text/plain", strings.NewReader("hi"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(b) != "hi" || r.ProtoMajor != 2 {
			t.Errorf("%q over %s", b, r.Proto)
		}
		tr.CloseIdleConnections()
		for _, first := range []string{"PRI", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n"} {
			c := dial(t, addr)
			for i := range len(first) {
				c.send(first[i : i+1])
			}
			if first != "PRI" {
				if r, _ := c.response("PUT"); r.StatusCode != 204 {
					t.Errorf("%s: %d", first, r.StatusCode)
				}
			}
			c.Close()
		}
	})
}

// grpcish is an upstream that behaves as gRPC servers do on the wire.
func grpcish(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	if r.URL.Path == "/fail" { // trailers only
		w.Header().Set("Grpc-Status", "5")
		return
	}
	if r.Header.Get("Te") != "trailers" || r.ProtoMajor != 2 || r.Host != "grpc.example" {
		w.WriteHeader(400)
		return
	}
	w.Header().Set("Trailer", "Grpc-Status")
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	buf := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		_ = rc.Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set("Grpc-Status", "0")
}

// h2backend serves HTTP/2 with or without TLS.
func h2backend(t testing.TB, conf *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(grpcish), TLSConfig: conf, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Protocols.SetHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conf != nil {
			_ = s.ServeTLS(ln, "", "")
		} else {
			_ = s.Serve(ln)
		}
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

func TestHTTP2Upstream(t *testing.T) {
	sc, cc := pair(t)
	for name, o := range map[string]PeerOptions{
		"h2c": {Addr: h2backend(t, nil), HTTP2: true},
		"h2":  {Addr: h2backend(t, sc), HTTP2: true, TLS: cc},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPeer(o)
			defer p.Close()
			h := Header{}
			h.Add("TE", "trailers")
			h.Add("content-type", "application/grpc")
			// Bidirectional: each piece comes back before the next is sent.
			pr, pw := io.Pipe()
			x, resp := &Exchange{Context: t.Context()}, &Response{}
			out := &Outgoing{Method: "POST", URI: "/pkg.Svc/Call%2F", Host: "grpc.example", Header: &h, Body: pr, ContentLength: -1, Read: 10 * time.Second}
			if _, err := p.Do(x, out, resp); err != nil {
				t.Fatal(err)
			}
			if resp.Status != 200 {
				t.Fatal(resp.Status)
			}
			b := make([]byte, 5)
			for range 3 {
				_, _ = io.WriteString(pw, "hello")
				if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "hello" {
					t.Fatalf("%q, %v", b, err)
				}
			}
			pw.Close()
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Fatalf("%q, %v", rest, err)
			}
			if s := resp.Trailer.Get("Grpc-Status"); s != "0" {
				t.Errorf("grpc-status %q", s)
			}
			resp.Body.Close()
			// Trailers only.
			out = &Outgoing{Method: "POST", URI: "/fail", Host: "grpc.example", Header: &h}
			if tm, err := p.Do(x, out, resp); err != nil || resp.Header.Get("Grpc-Status") != "5" || !tm.Reused {
				t.Errorf("%v, %v, %+v", err, resp.Header, tm)
			}
			resp.Body.Close()
		})
	}
}

func TestHTTP2UpstreamBehindHTTP1(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		peer := NewPeer(PeerOptions{Addr: h2backend(t, nil), HTTP2: true})
		addr, _, _ := startProxy(t, engine, "", func(p *proxy, _ *Server) { p.peer = peer })
		c := dial(t, addr)
		big := strings.Repeat("x", 300<<10)
		for _, body := range []string{"2\r\nhi\r\n", "4b000\r\n" + big + "\r\n"} {
			c.send("POST / HTTP/1.1\r\nHost: grpc.example\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n" + body + "0\r\n\r\n")
			r, b := c.response("POST")
			if r.StatusCode != 200 || len(b)+20 < len(body)-20 || r.Trailer.Get("Grpc-Status") != "0" {
				t.Fatalf("%d, %d bytes, trailer %v", r.StatusCode, len(b), r.Trailer)
			}
		}
	})
}

func TestHTTP2ReadTimeout(t *testing.T) {
	p := NewPeer(PeerOptions{Addr: h2backend(t, nil), HTTP2: true})
	defer p.Close()
	h := Header{}
	h.Add("TE", "trailers")
	pr, pw := io.Pipe()
	defer pw.Close()
	resp := &Response{}
	out := &Outgoing{Method: "POST", URI: "/", Host: "grpc.example", Header: &h, Body: pr, ContentLength: -1, Read: 30 * time.Millisecond}
	_, err := p.Do(&Exchange{Context: t.Context()}, out, resp)
	if err == nil {
		_, err = resp.Body.Read(make([]byte, 1))
		resp.Body.Close()
	}
	var e *Error
	if !errors.As(err, &e) || e.Kind != Timeout || e.Side != Upstream {
		t.Errorf("%v", err)
	}
}
