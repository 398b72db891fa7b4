package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/resource"
)

// fakeLive is a gateway that serves revision rev.
type fakeLive struct {
	rev   int64
	items map[resource.Kind][]LiveItem
}

func (l *fakeLive) Rev() int64 { return l.rev }

func (l *fakeLive) Digest() (int64, string) { return l.rev, "abc" }

func (l *fakeLive) WaitRev(ctx context.Context, rev int64) error {
	if rev <= l.rev {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *fakeLive) Items(k resource.Kind) []LiveItem { return l.items[k] }

func (l *fakeLive) Health(k resource.Kind, id string) []NodeHealth {
	if k != resource.Upstreams || id != "1" {
		return nil
	}
	return []NodeHealth{{IP: "127.0.0.1", Port: 80, Hostname: "a", Status: "unhealthy"}}
}

func (l *fakeLive) Discovery(name, path string) (any, bool) {
	return object{"services": name + path}, name == "consul"
}

func (l *fakeLive) PluginAPI(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/v1/server_info" {
		return false
	}
	_, _ = w.Write([]byte("info"))
	return true
}

func liveItem(k resource.Kind, id, value string) LiveItem {
	return LiveItem{Key: "/apisix/" + string(k) + "/" + id, ID: id, Value: []byte(value), Created: 3, Modified: 4}
}

func startControl(t *testing.T, change ...func(*ControlOptions)) *server {
	t.Helper()
	live := &fakeLive{rev: 7, items: map[resource.Kind][]LiveItem{
		resource.Routes: {liveItem(resource.Routes, "1", `{"uri":"/a","id":1,"upstream":{"nodes":{"127.0.0.1:80":1},"checks":{"active":{},"passive":{"type":"http"}}}}`),
			liveItem(resource.Routes, "2", `{"uri":"/b","plugins":{"limit-count":{"count":1}}}`)},
		resource.Upstreams:      {liveItem(resource.Upstreams, "1", `{"nodes":[{"host":"foo.com","port":80,"weight":1}],"checks":{"active":{"type":"tcp"}}}`)},
		resource.PluginMetadata: {liveItem(resource.PluginMetadata, "http-logger", `{"id":"http-logger","x":1}`), liveItem(resource.PluginMetadata, "off", `{}`)},
	}}
	o := ControlOptions{Live: live, Plugins: catalogs(t)}
	for _, f := range change {
		f(&o)
	}
	return &server{T: t, h: NewControl(o)}
}

func TestControl(t *testing.T) {
	s := startControl(t)
	s.run([]step{
		{"GET", "//v1/schema", "", 200, `~"stream_plugins":{"mqtt-proxy":`},
		{"GET", "//v1/schema", "", 200, `~"upstream_hash_vars_schema":`},
		{"GET", "//v1/routes", "", 200, `~"nodes":[{"host":"127.0.0.1","port":80,"weight":1}],"pass_host":"pass"`},
		{"GET", "//v1/route/1", "", 200, `~"key":"/apisix/routes/1","value":{"id":"1"`},
		{"GET", "//v1/route/2", "", 200, `~"plugins":{"limit-count":{"_meta":{},"count":1,"policy":"local"}}`},
		{"GET", "//v1/route/9", "", 404, errMsg("route[9] not found")},
		{"GET", "//v1/services", "", 200, `{}`},
		{"GET", "//v1/service/9", "", 404, errMsg("service[9] not found")},
		{"GET", "//v1/upstreams", "", 200, `~"createdIndex":3,"modifiedIndex":4,"has_domain":true`},
		{"GET", "//v1/upstream/9", "", 404, errMsg("upstream[9] not found")},
		{"GET", "//v1/plugin_metadatas", "", 200, `[{"id":"http-logger","x":1}]`},
		{"GET", "//v1/plugin_metadata/http-logger", "", 200, `{"id":"http-logger","x":1}`},
		{"GET", "//v1/plugin_metadata/nope", "", 404, errMsg("plugin metadata[nope] not found")},
		{"GET", "//v1/healthcheck/upstreams/1", "", 200, `{"name":"/apisix/upstreams/1","type":"tcp","nodes":[{"ip":"127.0.0.1","port":80,"hostname":"a","status":"unhealthy","counter":{"success":0,"http_failure":0,"tcp_failure":0,"timeout_failure":0}}]}`},
		{"GET", "//v1/healthcheck/routes/1", "", 200, `{"name":"/apisix/routes/1","type":"http","nodes":[]}`},
		{"GET", "//v1/healthcheck/routes/2", "", 404, errMsg("no checker for routes[2]")},
		{"GET", "//v1/healthcheck/routes/9", "", 404, errMsg("routes[9] not found")},
		{"GET", "//v1/healthcheck/routes", "", 404, errMsg("missing src id for src type routes")},
		{"GET", "//v1/healthcheck/nope/1", "", 400, errMsg("invalid src type nope")},
		{"GET", "//v1/healthcheck", "", 200, `~[{"name":"/apisix/routes/1"`},
		{"POST", "//v1/gc", "", 200, ""},
		{"GET", "//v1/discovery/consul/dump", "", 200, `{"services":"consuldump"}`},
		{"GET", "//v1/discovery/nope/dump", "", 404, `~404 Not Found`},
		{"GET", "//v1/server_info", "", 200, "info"},
		{"PUT", "//v1/plugins/reload", "", 200, "done"},
		{"GET", "//v1/sluice/version", "", 200, `{"rev":7}`},
		{"GET", "//v1/sluice/version?digest", "", 200, `{"digest":"abc","rev":7}`},
		{"GET", "//v1/sluice/version?wait=7", "", 200, `{"rev":7}`},
		{"GET", "//v1/sluice/version?wait=8&timeout=0", "", 504, `~"rev":7`},
		{"GET", "//v1/sluice/version?wait=x", "", 400, errMsg(`invalid wait "x": should be a revision`)},
		{"GET", "//v1/sluice/version?wait=8&timeout=-1", "", 400, errMsg(`invalid timeout "-1": should be a number of seconds`)},
		{"GET", "//v1/nope", "", 404, `~404 Not Found`},
		{"GET", "//v1/gc", "", 404, `~404 Not Found`},
		{"GET", "//debug/metrics", "", 404, `~404 Not Found`},
		{"GET", "//debug/pprof/", "", 404, `~404 Not Found`},
	})
	if w := s.send("GET", "//v1/healthcheck", "", "Accept", "text/html"); w.Code != 200 || w.Header().Get("Content-Type") != "text/html" ||
		!strings.Contains(w.Body.String(), "<td>127.0.0.1:80</td>") || !strings.Contains(w.Body.String(), `<tr bgcolor="#FF0000">`) {
		t.Errorf("HTML: %d %s", w.Code, w.Body)
	}
	failing := startControl(t, func(o *ControlOptions) {
		o.Debug, o.Reload = true, func(context.Context) error { return errors.New("no file") }
	})
	failing.run([]step{
		{"PUT", "//v1/plugins/reload", "", 503, "no file"},
		{"GET", "//debug/metrics", "", 200, `~/memory/classes/heap/objects:bytes`},
		{"GET", "//debug/pprof/", "", 200, `~goroutine`},
	})
}

func TestStatus(t *testing.T) {
	var notReady error
	s := &server{T: t, h: NewStatus(func() error { return notReady })}
	s.run([]step{{"GET", "//status", "", 200, `{"status":"ok"}`}, {"GET", "//status/ready", "", 200, `{"status":"ok"}`}, {"GET", "//x", "", 404, "~404"}})
	notReady = errors.New("worker id: 0 has not received configuration")
	s.run([]step{{"GET", "//status/ready", "", 503, `{"error":"worker id: 0 has not received configuration","status":"error"}`}})
}

func TestServerHasTimeouts(t *testing.T) {
	s := NewServer(http.NotFoundHandler(), nil)
	for name, d := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout, "idle": s.IdleTimeout} {
		if d <= 0 {
			t.Errorf("no %s timeout", name)
		}
	}
	if s.WriteTimeout <= maxWait {
		t.Errorf("a long poll of %v ends in a write timeout of %v", maxWait, s.WriteTimeout)
	}
}

// Every path of the Admin API wants a key, whether it exists or not.
func TestNothingWithoutKey(t *testing.T) {
	s := start(t, func(o *Options) { o.KeyRequired, o.Keys = true, []Key{{Key: "secret", Role: "admin"}} })
	paths := []string{"/", "/nope", "/plugins", "/plugins/list", "/plugins/reload", "/schema/route", "/schema/plugins/cors", "//apisix/admin%2Froutes", "//x/../apisix/admin/routes"}
	for name := range table() {
		paths = append(paths, "/"+name, "/"+name+"/1", "/"+name+"/1/x/y")
	}
	for _, p := range paths {
		for method := range genericMethods {
			if w := s.send(method, p, `{}`); w.Code != 401 {
				t.Errorf("%s %s: %d %s", method, p, w.Code, w.Body)
			}
		}
	}
}

func TestSmallFrontDetails(t *testing.T) {
	s := start(t)
	r := httptest.NewRequest("PUT", root+"/routes/1", http.NoBody)
	r.ContentLength = -1
	r.Body = http.NoBody
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	if w.Code != 400 || strings.TrimSpace(w.Body.String()) != errMsg("missing configurations") {
		t.Errorf("an empty chunked body: %d %s", w.Code, w.Body)
	}
	if w := s.send("GET", "/routes", "{x"); w.Code != 400 {
		t.Errorf("bad body with GET: %d", w.Code)
	}
}
