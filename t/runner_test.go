package t

import (
	"context"
	"encoding/json"
	"fmt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestRunner proves the runner itself: its scenarios talk to a stand-in that
// does as little of a gateway as they need.
func TestRunner(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	testscript.Run(t, params(files, launchStandIn))
}

// standIn keeps routes with a prefix, one node and a whitelist.
type standIn struct {
	mu     sync.Mutex
	rev    int64
	live   int64 // what the last version request made live
	routes map[string]standInRoute
}

type standInRoute struct {
	URI      string
	Upstream struct{ Nodes map[string]int }
	Plugins  map[string]struct{ Whitelist []string }
	rev      int64
}

func launchStandIn(s *scenario) error {
	in := &standIn{routes: map[string]standInRoute{}}
	for port, h := range map[int]http.HandlerFunc{adminPort: in.admin, controlPort: in.control, httpPort: in.data} {
		u := &upstream{name: fmt.Sprint("stand-in ", port)}
		var err error
		if u.l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", s.ip, port)); err != nil {
			return err
		}
		u.serve(u.l, h)
		s.upstreams[u.name] = u
	}
	s.gateway = &gateway{rev: func() int64 {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.rev
	}}
	return nil
}

func (in *standIn) admin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-API-KEY") != adminKey {
		http.Error(w, `{"description":"wrong apikey"}`, http.StatusUnauthorized)
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/apisix/admin/routes/")
	text, _ := io.ReadAll(r.Body)
	var route standInRoute
	if err := json.Unmarshal(text, &route); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, list := range route.Plugins {
		for _, n := range list.Whitelist {
			if _, err := netip.ParsePrefix(n); strings.Contains(n, "/") && err != nil {
				http.Error(w, fmt.Sprintf("network %q: wrong", n), http.StatusBadRequest)
				return
			}
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.rev++
	route.rev = in.rev
	in.routes[id] = route
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"key":"/apisix/routes/%s","value":%s,"list":[1,2]}`, id, text)
}

func (in *standIn) control(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	fmt.Sscan(r.URL.Query().Get("wait"), &in.live)
	fmt.Fprintf(w, `{"rev":%d}`, in.live)
}

func (in *standIn) data(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, route := range in.routes {
		if route.URI != r.URL.Path || route.rev > in.live {
			continue
		}
		from := netip.MustParseAddrPort(r.RemoteAddr).Addr().String()
		if list := route.Plugins["ip-restriction"].Whitelist; len(list) > 0 && !strings.Contains(strings.Join(list, " "), from) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintln(w, `{"message":"Your IP address is not allowed"}`)
			return
		}
		for node := range route.Upstream.Nodes {
			httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: node}).ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

func TestOptions(t *testing.T) {
	rest, o := options([]string{"/a?b=c", "host=x", "h2", "body=a=b"}, "host", "h2", "body")
	if len(rest) != 1 || first(o["host"]) != "x" || o["h2"] == nil || first(o["body"]) != "a=b" {
		t.Errorf("%q %q", rest, o)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`GET / HTTP/1.1\r\nA: "b"\r\n\r\n`: "GET / HTTP/1.1\r\nA: \"b\"\r\n\r\n",
		"GET / HTTP/1.1\nA: b\n\n": "GET / HTTP/1.1\r\nA: b\r\n\r\n", `\x00\n`: "\x00\n"} {
		if got, err := unescape(in); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

func TestWalk(t *testing.T) {
	var v any
	json.Unmarshal([]byte(`{"a":{"b.c":[{"d":1},2]},"s":"1"}`), &v)
	for path, want := range map[string]string{`a.b\.c.0.d`: "1", `a.b\.c.len()`: "2", "s": "1", "a": `{"b.c":[{"d":1},2]}`} {
		if got, ok := walk(v, path); !ok || !same(got, want) {
			t.Errorf("%s: %v %v", path, got, ok)
		}
	}
	for _, path := range []string{"x", "a.x", "s.x", `a.b\.c.2`, `a.b\.c.x`} {
		if got, ok := walk(v, path); ok {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestStoreView(t *testing.T) {
	t.Parallel()
	ip := newScenario(t.TempDir(), nil).ip
	v, err := newStoreView(ip, sharedStore)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	put, err := v.client.Put(t.Context(), v.prefix+"/routes/1", "{}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.client.Put(t.Context(), "/other/"+ip, "{}"); err != nil {
		t.Fatal(err)
	}
	if rev, err := v.revision(); err != nil || rev != put.Header.Revision {
		t.Errorf("revision %d, want %d: %v", rev, put.Header.Revision, err)
	}
	del, err := v.client.Delete(t.Context(), v.prefix+"/routes/1")
	if err != nil {
		t.Fatal(err)
	}
	if rev, err := v.revision(); err != nil || rev != del.Header.Revision {
		t.Errorf("revision %d after deletion, want %d: %v", rev, del.Header.Revision, err)
	}
	through := func() error {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{v.addr}, DialTimeout: time.Second, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Get(ctx, "x")
		return err
	}
	if err := poll(limit, through); err != nil {
		t.Errorf("through the relay: %v", err)
	}
	v.cut()
	if err := through(); err == nil {
		t.Error("the cut relay passes requests")
	}
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	if err := poll(limit, through); err != nil {
		t.Errorf("through the relay again: %v", err)
	}
}
