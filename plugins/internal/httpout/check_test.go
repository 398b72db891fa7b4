package httpout

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, release := Open(new(plugins.Shared), o)
	t.Cleanup(release)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestNothingOfGosIsSent(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "" || r.Header.Get("Accept-Encoding") != "" || r.ContentLength != 0 {
			t.Errorf("%+v", r)
		}
	})
	for _, method := range []string{"GET", "POST"} {
		if _, err := open(t, Options{}).Do(t.Context(), method, s.URL, nil, []byte{}); err != nil {
			t.Error(err)
		}
	}
}

func TestHostInAnyCase(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Host != "other" {
			t.Errorf("host %q", r.Host)
		}
	})
	for _, name := range []string{"Host", "host"} {
		a, err := open(t, Options{}).Do(t.Context(), "GET", s.URL, http.Header{name: {"other"}}, nil)
		if err != nil || a.Status != 200 {
			t.Error(a, err)
		}
	}
}

func TestLongAnswerIsCut(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 10)) })
	for limit, cut := range map[int64]bool{9: true, 10: false} {
		a, err := open(t, Options{MaxBody: limit}).Do(t.Context(), "GET", s.URL, nil, nil)
		if err != nil || int64(len(a.Body)) != limit || a.Cut != cut {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestEnds(t *testing.T) {
	done := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(done) })
	if _, err := open(t, Options{Timeout: time.Millisecond}).Do(t.Context(), "GET", s.URL, nil, nil); err == nil {
		t.Error("no time-out")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := plugintest.Request("GET", "/")
	c.Context = ctx
	if _, err := open(t, Options{}).Do(c, "GET", s.URL, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call went on without its client: %v", err)
	}
}

// TestConnections counts the connections of two calls.
func TestConnections(t *testing.T) {
	for none, want := range map[bool]int32{false: 1, true: 2} {
		var opened atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		s.Start()
		t.Cleanup(s.Close)
		c := open(t, Options{NoKeepalive: none})
		for range 2 {
			if _, err := c.Do(t.Context(), "GET", s.URL, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := opened.Load(); got != want {
			t.Errorf("without keepalive %v: %d connections", none, got)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	for text, want := range map[string]bool{"http://a": true, "https://a:1/b?c": true, "": false, "a": false, "//a": false,
		"ftp://a": false, "http://": false, "http://:80": false, "http://a b": false, "http://[::1": false} {
		if err := CheckAddress(text); (err == nil) != want {
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
