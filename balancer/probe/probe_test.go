package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/balancer"
)

func spec(kind, addr string) balancer.ProbeSpec {
	return balancer.ProbeSpec{Type: kind, Addr: addr, Host: "example.com", Method: "GET", Path: "/", Verify: true}
}

func TestHTTP(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(418)
	}))
	defer srv.Close()
	s := spec("http", srv.Listener.Addr().String())
	s.Method, s.Path, s.Body = "POST", "/up?x=1", "hello"
	s.Header = []string{"User-Agent: probe", "X-A: 1"}
	code, err := New(nil)(t.Context(), s)
	if code != 418 || err != nil {
		t.Fatalf("%d, %v", code, err)
	}
	if got.Method != "POST" || got.RequestURI != "/up?x=1" || got.Host != "example.com" ||
		got.UserAgent() != "probe" || got.Header.Get("X-A") != "1" || string(body) != "hello" {
		t.Errorf("server saw %v, body %q", got, body)
	}
}

func TestHTTPS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != "example.com" {
			w.WriteHeader(500)
		}
	}))
	srv.Config.ErrorLog = nil
	defer srv.Close()
	s := spec("https", srv.Listener.Addr().String())
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	if code, err := New(roots)(t.Context(), s); code != 200 || err != nil {
		t.Errorf("trusted: %d, %v", code, err)
	}
	if _, err := New(x509.NewCertPool())(t.Context(), s); err == nil {
		t.Error("an unknown certificate was accepted")
	}
	s.Verify = false
	if code, err := New(x509.NewCertPool())(t.Context(), s); code != 200 || err != nil {
		t.Errorf("not verified: %d, %v", code, err)
	}
}

func TestTCPAndFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if a := <-answers; a != "" {
				_, _ = io.WriteString(c, a)
				_ = c.Close()
			} else {
				defer c.Close() // says nothing
			}
		}
	}()
	addr := l.Addr().String()
	probe := New(nil)
	answers <- "x"
	if _, err := probe(t.Context(), spec("tcp", addr)); err != nil {
		t.Errorf("tcp: %v", err)
	}
	answers <- "SSH-2.0-x\r\n"
	if code, err := probe(t.Context(), spec("http", addr)); code != 0 || err != nil {
		t.Errorf("not HTTP: %d, %v", code, err)
	}
	answers <- ""
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var timeout net.Error
	if _, err := probe(ctx, spec("http", addr)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("silent server: %v", err)
	}
	l.Close()
	if _, err := probe(t.Context(), spec("http", addr)); err == nil {
		t.Error("closed port: no error")
	}
}

func TestRequestCannotBeSplit(t *testing.T) {
	for _, change := range []func(*balancer.ProbeSpec){
		func(s *balancer.ProbeSpec) { s.Path = "/\r\nX: 1" },
		func(s *balancer.ProbeSpec) { s.Host = "a\r\nX: 1" },
		func(s *balancer.ProbeSpec) { s.Header = []string{"A: b\nX: 1"} },
		func(s *balancer.ProbeSpec) { s.Path = "http://169.254.169.254/" },
	} {
		s := spec("http", "127.0.0.1:1")
		change(&s)
		if r, err := request(&s); err == nil {
			t.Errorf("%+v: sent %q", s, r)
		}
	}
}

func TestStatusLine(t *testing.T) {
	for line, want := range map[string]int{
		"HTTP/1.1 200 OK\r\n": 200, "HTTP/1.0 404\r\n": 404, "http/1.1 503 x": 503,
		"": 0, "HTTP/1.1": 0, "HTTP/1.1 abc": 0, "ICY 200 OK": 0, strings.Repeat("x", 5000): 0,
	} {
		if got := statusOf(line); got != want {
			t.Errorf("%.20q: %d, want %d", line, got, want)
		}
	}
}

func FuzzStatusLine(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		if n := statusOf(line); n < 0 || n > 999 {
			t.Errorf("%q: %d", line, n)
		}
	})
}
