package plugintest

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

// Served is a request of route 1 that came at second 1000 and has ended.
func Served(target string) *plugins.Ctx {
	c := Request("GET", target)
	c.Start = time.Unix(1000, 0)
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	Respond(c, 200)
	return c
}

// Log lets an instance log requests for targets, and closes it: what it has
// collected is delivered then, and nothing may be left of it.
func Log(t *testing.T, spec *plugins.Spec, env *plugins.Env, conf string, targets ...string) {
	t.Helper()
	p, err := Try(spec, env, conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		p.Log(Served(target))
	}
	p.Close()
	if n := env.Shared.Len(); n != 0 {
		t.Errorf("%d shared values left", n)
	}
}

// Complain lets an instance log a request to a server that does not take it,
// and wants the error log to say so.
func Complain(t *testing.T, spec *plugins.Spec, env *plugins.Env, conf, want string) {
	t.Helper()
	var text strings.Builder
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	Log(t, spec, env, conf, "/")
	if !strings.Contains(text.String(), want) {
		t.Errorf("the log is %q, want %q", &text, want)
	}
}

// Refuse wants each configuration to be refused with an error that contains
// what stands beside it.
func Refuse(t *testing.T, spec *plugins.Spec, confs map[string]string) {
	t.Helper()
	for conf, want := range confs {
		if _, err := Try(spec, Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

// BenchmarkLog is how long it takes to note a request; nothing is delivered
// meanwhile when conf asks for batches that are large enough.
func BenchmarkLog(b *testing.B, spec *plugins.Spec, conf string) {
	p := Build(b, spec, Env(), conf)
	c := Served("/hello")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}

// Sink is a server of HTTP that notes what it gets. It ends with the test.
type Sink struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

// NewSink starts one. It notes method, target, the values of these fields, and
// the body, with blanks between, and then answers; nil is 200.
func NewSink(t *testing.T, answer http.HandlerFunc, fields ...string) *Sink {
	s := new(Sink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // one that breaks off is noted as it is
		words := []string{r.Method, r.RequestURI}
		for _, name := range fields {
			words = append(words, r.Header.Get(name))
		}
		s.mu.Lock()
		s.got = append(s.got, strings.Join(append(words, string(body)), " "))
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// Got is what came so far.
func (s *Sink) Got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// Failing is an answer of 500, with the text "no".
func Failing(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }

// Datagrams is a server of datagrams, and its port, until the test ends.
func Datagrams(t *testing.T) (conn *net.UDPConn, port string) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
}

// Listen is a listener, and its port, until the test ends.
func Listen(t *testing.T) (l net.Listener, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Sent is all that the next connection to l sends, or the error that ended it.
func Sent(l net.Listener) <-chan string {
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		b, err := io.ReadAll(conn)
		if err != nil {
			b = append(b, err.Error()...)
		}
		got <- string(b)
	}()
	return got
}

// NoAddress checks that an instance whose address comes from a secret that holds
// nothing, which the schema has not seen, says so and goes on.
func NoAddress(t *testing.T, spec *plugins.Spec, conf string) {
	t.Helper()
	env := Env()
	var text strings.Builder
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	p, err := spec.New(json.RawMessage(conf), env)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(Served("/"))
	p.Close()
	if !strings.Contains(text.String(), "unsupported protocol scheme") {
		t.Errorf("the log is %q", &text)
	}
}
