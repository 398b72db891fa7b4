package httpout

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
)

func TestDo(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		b, _ := io.ReadAll(r.Body)
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("X-A"), b)
	}))
	defer s.Close()
	shared := new(plugins.Shared)
	c, release := Open(shared, Options{Timeout: 10 * time.Second, MaxBody: 22})
	again, releaseAgain := Open(shared, Options{Timeout: 10 * time.Second, MaxBody: 22})
	if c != again {
		t.Error("clients with the same options are not shared")
	}
	a, err := c.Do(t.Context(), "POST", s.URL, http.Header{"X-A": {"1"}, "Host": {"example.com"}}, []byte("hello, world"))
	if err != nil || a.Status != 201 || string(a.Body) != "POST example.com 1 hel" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err = c.Do(t.Context(), "GET", s.URL+"/moved", nil, nil); err != nil || a.Status != 302 {
		t.Errorf("%+v, %v", a, err)
	}
	release()
	releaseAgain()
	if shared.Len() != 0 {
		t.Error("something is left")
	}
}

func TestErrors(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	shared := new(plugins.Shared)
	strict, release := Open(shared, Options{Verify: true})
	defer release()
	_, err := strict.Do(t.Context(), "GET", s.URL+"/?secret=1", nil, nil)
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	lax, releaseLax := Open(shared, Options{})
	defer releaseLax()
	if a, err := lax.Do(t.Context(), "GET", s.URL, nil, nil); err != nil || a.Status != 404 {
		t.Errorf("%+v, %v", a, err)
	}
	s.Close()
	if _, err := lax.Do(t.Context(), "GET", s.URL, nil, nil); err == nil {
		t.Error("a server that is gone answered")
	}
	if _, err := lax.Do(t.Context(), "GET", "http://[::1", nil, nil); err == nil {
		t.Error("a bad address was accepted")
	}
}
