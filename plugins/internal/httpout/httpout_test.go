package httpout

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(t *testing.T, c *Client, r *Request) (*Answer, error) {
	t.Helper()
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Timeout == 0 {
		r.Timeout = 10 * time.Second
	}
	if r.MaxBody == 0 {
		r.MaxBody = 1 << 10
	}
	return c.Do(context.Background(), r)
}

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, release := Open(plugintest.Env(), o)
	t.Cleanup(release)
	return c
}

func serve(t *testing.T, s *httptest.Server, target string) *Request {
	t.Helper()
	t.Cleanup(s.Close)
	u, err := ParseURL(s.URL + target)
	if err != nil {
		t.Fatal(err)
	}
	return &Request{URL: u}
}

func TestDo(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.RequestURI() != "/a?b=1" || r.Method != "POST" || string(body) != "hello" || r.ContentLength != 5 ||
			r.Host != "other" || r.Header.Get("X-A") != "1" || r.Header.Get("User-Agent") != "" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("%+v with %q", r, body)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(302)
		io.WriteString(w, "moved")
	}))
	r := serve(t, s, "/a?b=1")
	r.Method, r.Body, r.Host, r.Header = "POST", []byte("hello"), "other", http.Header{"X-A": {"1"}}
	a, err := call(t, open(t, Options{KeepAlive: true, Pool: 1}), r)
	if err != nil || a.Status != 302 || string(a.Body) != "moved" || a.Cut || a.Header.Get("Location") != "/elsewhere" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestLongAnswerIsCut(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 11)) }))
	r := serve(t, s, "/")
	r.MaxBody = 10
	a, err := call(t, open(t, Options{}), r)
	if err != nil || len(a.Body) != 10 || !a.Cut {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestTimeout(t *testing.T) {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	r := serve(t, s, "/")
	t.Cleanup(func() { close(done) })
	r.Timeout = time.Millisecond
	if _, err := call(t, open(t, Options{}), r); err != errTimeout {
		t.Error(err)
	}
	r.Timeout, r.Method, r.Header = time.Minute, "GET", http.Header{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := open(t, Options{}).Do(ctx, r); err == nil {
		t.Error("a call went on without its client")
	}
}

// TestConnections counts the connections of two calls.
func TestConnections(t *testing.T) {
	for keep, want := range map[bool]int32{true: 1, false: 2} {
		var opened atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		s.Start()
		r := serve(t, s, "/")
		c := open(t, Options{KeepAlive: keep, Pool: 1, IdleTimeout: time.Minute})
		for range 2 {
			if _, err := call(t, c, r); err != nil {
				t.Fatal(err)
			}
		}
		if got := opened.Load(); got != want {
			t.Errorf("keepalive %v: %d connections", keep, got)
		}
	}
}

func TestCertificates(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	r := serve(t, s, "/")
	if _, err := call(t, open(t, Options{}), r); err == nil {
		t.Error("a certificate of nobody was taken")
	}
	if a, err := call(t, open(t, Options{Insecure: true}), r); err != nil || a.Status != 200 {
		t.Error(a, err)
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]bool{"http://a": true, "https://a:1/b?c": true, "": false, "a": false, "//a": false,
		"ftp://a": false, "http://": false, "http://:80": false, "http://a b": false, "http://[::1": false} {
		if _, err := ParseURL(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFields(t *testing.T) {
	if !Frames("content-length") || !Frames("TE") || Frames("Content-Type") {
		t.Error("Frames")
	}
	if !ValidField("X-A", "a b") || ValidField("X-A", "a\r\nX-B: c") || ValidField("X A", "a") || ValidField("", "a") {
		t.Error("ValidField")
	}
}
