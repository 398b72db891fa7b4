package all

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
	"sluice/gateway"
	"sluice/gateway/accesslog"
	"sluice/gateway/lua"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// patience is how long anything that must happen may take on a slow machine.
const patience = 30 * time.Second

// rig is a gateway in this process with its configuration in memory, an
// upstream that tells what it got, and a place for whatever plugins send elsewhere.
type rig struct {
	t      testing.TB
	center *memory.Center
	g      *gateway.Gateway
	shared *plugins.Shared
	addr   string
	echo   *httptest.Server
	sink   *sink
	log    text
	dir    string
	stop   []func()
}

// text collects what several goroutines write.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// attributes are plugin_attr of config.yaml.
var attributes = map[string]string{
	"proxy-cache": `{"proxy_cache":{"cache_ttl":10,"zones":[{"name":"memory","memory_size":1048576},
		{"name":"disk","memory_size":1048576,"disk_size":10485760,"disk_path":"$DIR/cache","cache_levels":"1:2"}]}}`,
}

// accessFormat names as many kinds of variables as fit on a line.
const accessFormat = `$remote_addr "$request" $status $http_host $http_x_canary $consumer_name $route_id $request_id ` +
	`$upstream_addr $upstream_uri $arg_q $cookie_c $http_user_agent $uri $args $original_x_forwarded_host $sent_http_x_up $apisix_request_id`

// newRig starts a gateway with the plugins of the catalog.
func newRig(t testing.TB, catalog *plugins.Catalog) *rig {
	t.Helper()
	r := &rig{t: t, center: memory.New("/apisix"), shared: new(plugins.Shared), dir: t.TempDir(), sink: newSink(t)}
	r.echo = httptest.NewServer(http.HandlerFunc(r.tell))
	format, err := accesslog.Compile(accessFormat, "json")
	if err != nil {
		t.Fatal(err)
	}
	access, err := accesslog.Open(format, accesslog.Options{Path: filepath.Join(r.dir, "access.log")})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	host := lua.New(lua.Options{Log: log})
	g := gateway.New(gateway.Options{
		Catalog: catalog, Shared: r.shared, Log: log, Mode: router.HostURI, Lua: host, ServerHeader: "APISIX",
		Keepalive: gateway.Keepalive{Idle: 320, IdleTimeout: time.Minute, Requests: 1000}, SpoolBytes: 1 << 16,
		Grace: time.Millisecond, AccessLog: access,
		Attr: func(plugin string) json.RawMessage {
			if text, ok := attributes[plugin]; ok {
				return json.RawMessage(strings.ReplaceAll(text, "$DIR", r.dir))
			}
			return nil
		},
	})
	r.g = g
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() { defer close(followed); g.Follow(ctx, r.center) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{Handler: g, BadRequest: g.Refused, Requests: -1}
	served := make(chan struct{})
	go func() { defer close(served); s.Serve(l) }()
	r.addr = l.Addr().String()
	r.stop = []func(){
		func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			<-served
		},
		func() { cancel(); <-followed },
		g.Close, r.shared.Close, host.Close, func() { access.Close() }, r.echo.Close, r.sink.close,
	}
	t.Cleanup(r.close)
	return r
}

// close ends everything; what plugins still hold is delivered before.
func (r *rig) close() {
	for _, f := range r.stop {
		f()
	}
	r.stop = nil
}

// put writes an object and waits until it is live.
func (r *rig) put(kind resource.Kind, id string, value any) {
	r.t.Helper()
	body, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			r.t.Fatal(err)
		}
		body = string(b)
	}
	c, err := r.center.Put(context.Background(), kind, id, []byte(body), configcenter.PutOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.g.WaitRev(ctx, c.Mod); err != nil {
		r.t.Fatalf("revision %d of %s/%s: %v", c.Mod, kind, id, err)
	}
}

func (r *rig) accessLog() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "access.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// told is what the upstream says that it got.
type told struct {
	Method string      `json:"method"`
	URI    string      `json:"uri"`
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// tell is the upstream: it answers with the request.
func (r *rig) tell(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	b, _ := json.Marshal(told{q.Method, q.RequestURI, q.Host, q.Header, string(body)})
	r.sink.add("upstream", string(b))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Up", q.Header.Get("X-Canary"))
	h.Set("Cache-Control", "max-age=60")
	if c := q.Header.Get("X-Want-Cookie"); c != "" {
		h.Set("Set-Cookie", "session="+c)
	}
	if status, _ := strconv.Atoi(q.Header.Get("X-Want-Status")); status >= 200 {
		w.WriteHeader(status)
	}
	w.Write(b)
}

// sink is the other end of loggers, tracers, mirrors and services that plugins
// ask: HTTP at one address, plain TCP and UDP at another.
type sink struct {
	http *httptest.Server
	tcp  net.Listener
	udp  net.PacketConn
	port int // of tcp and udp
	work sync.WaitGroup

	mu    sync.Mutex
	items []payload
}

// payload is one message.
type payload struct{ from, text string }

func newSink(t testing.TB) *sink {
	t.Helper()
	s := new(sink)
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			s.tcp, s.udp, s.port = tcp, udp, tcp.Addr().(*net.TCPAddr).Port
			break
		}
		tcp.Close()
	}
	if s.udp == nil {
		t.Fatal("no port is free for both TCP and UDP")
	}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		pieces := []json.RawMessage{body}
		if json.Unmarshal(body, &pieces) != nil || len(pieces) == 0 {
			pieces = []json.RawMessage{body}
		}
		for _, piece := range pieces { // a list is of things that came from several requests
			s.add("sink", fmt.Sprintf("%s %s %v %s", q.Method, q.RequestURI, q.Header, piece))
		}
		w.Header().Set("X-User-ID", q.Header.Get("X-Canary"))
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	}))
	s.work.Go(s.takeTCP)
	s.work.Go(s.takeUDP)
	return s
}

func (s *sink) takeTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() {
			defer c.Close()
			b, _ := io.ReadAll(c)
			for line := range bytes.Lines(b) {
				s.add("tcp", string(line))
			}
		})
	}
}

func (s *sink) takeUDP() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := s.udp.ReadFrom(b)
		if err != nil {
			return
		}
		s.add("udp", string(b[:n]))
	}
}

func (s *sink) add(from, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, payload{from, text})
}

func (s *sink) all() []payload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]payload(nil), s.items...)
}

func (s *sink) close() {
	s.http.Close()
	s.tcp.Close()
	s.udp.Close()
	s.work.Wait()
}
