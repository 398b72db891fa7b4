package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gateway is a running sluice.
type gateway struct {
	t       testing.TB
	name    string
	dir     string
	addr    string
	control string
	p       *process

	requests, failed atomic.Int64
	failure          atomic.Value // the last one's text
}

// newGateway starts a data plane over endpoints, with what else is to stand in
// its configuration below deployment.etcd, sluice and apisix.ssl.
func newGateway(t testing.TB, name string, endpoints []string, etcdConf, sluiceConf string, ssl ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, name: name, dir: t.TempDir(), addr: freeAddr(t), control: freeAddr(t)}
	if !long {
		etcdConf += ", resync_delay: 1" // shorter pauses make a shorter test
	}
	host, port := hostPort(g.addr)
	_, controlPort := hostPort(g.control)
	text := fmt.Sprintf(`apisix:
  node_listen: [{ip: %s, port: %s}]
  ssl: {%s}
  control: {port: %s}
nginx_config: {http: {enable_access_log: false}}
plugin_attr: {prometheus: {enable_export_server: false}}
deployment:
  role: data_plane
  role_data_plane: {config_provider: etcd}
  etcd: {host: ["%s"]%s}
sluice: {data_dir: %s/data, pprof: true%s}
`, host, port, strings.Join(append(ssl, "enable: false"), ", "), controlPort, strings.Join(endpoints, `", "`), etcdConf, g.dir, sluiceConf)
	if err := os.WriteFile(filepath.Join(g.dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	g.p = run(g.t, g.name, sluice(g.t), "run", "-c", filepath.Join(g.dir, "config.yaml"))
	eventually(g.t, g.name, func() error { _, err := g.state(); return err })
}

// state is what the gateway says of itself.
type state struct {
	Rev       int64  `json:"rev"`
	Origin    string `json:"origin"`
	Reachable bool   `json:"store_reachable"`
	Digest    string `json:"digest"`
	Applied   int64  `json:"changes_applied"`
	Drifts    int64  `json:"drift_healed"`
	Error     string `json:"store_error"`
}

var asking = http.Client{Timeout: 5 * time.Second}

func (g *gateway) get(path string, into any) error {
	resp, err := asking.Get("http://" + g.control + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

func (g *gateway) state() (s state, err error) { return s, g.get("/v1/sluice/status", &s) }

// heap is what is live after two collections: the pools need both.
func (g *gateway) heap() float64 {
	for range 2 {
		if resp, err := asking.Get("http://" + g.control + "/debug/pprof/heap?gc=1"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	values := map[string]float64{}
	eventually(g.t, g.name+": its memory", func() error { return g.get("/debug/metrics", &values) })
	return values["/gc/heap/live:bytes"]
}

// fleet is some gateways under constant traffic, over one store.
type fleet struct {
	t     testing.TB
	store *store
	all   []*gateway
	stop  context.CancelFunc
	wg    sync.WaitGroup
	heaps []float64 // of each, at the start
}

func newFleet(t testing.TB, s *store, all ...*gateway) *fleet {
	t.Helper()
	f := &fleet{t: t, store: s, all: all}
	f.converge("the start")
	for _, g := range all {
		f.heaps = append(f.heaps, g.heap())
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	for _, g := range all {
		f.wg.Go(func() { g.traffic(ctx) })
	}
	t.Cleanup(f.halt)
	return f
}

func (f *fleet) halt() {
	f.stop()
	f.wg.Wait()
}

// upstream answers what the gateways pass on.
func upstream(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// traffic is a hundred requests a second until ctx ends.
func (g *gateway) traffic(ctx context.Context) {
	client := http.Client{Timeout: either(patience, 10*time.Second), Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g.requests.Add(1)
		if err := try(&client, g.addr); err != nil {
			g.failed.Add(1)
			g.failure.Store(err.Error())
		}
	}
}

func try(client *http.Client, addr string) error {
	resp, err := client.Get("http://" + addr + "/always")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "here" {
		return fmt.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
	return nil
}

// converge waits until every gateway serves exactly what the store holds, which
// nobody changes just now.
func (f *fleet) converge(what string) time.Duration {
	f.t.Helper()
	return eventually(f.t, what+": convergence", func() error {
		want, err := f.store.digest()
		if err != nil {
			return err
		}
		for _, g := range f.all {
			if st, err := g.state(); err != nil || st.Digest != want {
				return fmt.Errorf("%s shows %+v, the store holds %s; %v", g.name, st, want, err)
			}
		}
		return nil
	})
}

// applied are the gateways' counts of changes.
func (f *fleet) applied() (out []int64) {
	f.t.Helper()
	for _, g := range f.all {
		st, err := g.state()
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, st.Applied)
	}
	return out
}

// fault runs one fault and checks what must hold after it: do brings it about,
// ends it, and returns how many changes of objects were made from its beginning.
// Changes beyond that would have been applied twice.
func (f *fleet) fault(what string, do func() int64) {
	f.t.Helper()
	if f.t.Failed() {
		return
	}
	before, traffic := f.applied(), f.failures()
	changes := do()
	took := f.converge(what)
	if took > bar() {
		f.t.Errorf("%s: converged after %v, allowed are %v", what, took.Round(time.Millisecond), bar())
	}
	for i, n := range f.applied() {
		if n-before[i] > changes {
			f.t.Errorf("%s: %s applied %d changes of %d", what, f.all[i].name, n-before[i], changes)
		}
	}
	f.oneByOne(what)
	requests := int64(0)
	for i, g := range f.all {
		requests += g.requests.Load()
		if n := g.failed.Load() - traffic[i]; n > 0 {
			f.t.Errorf("%s: %d requests to %s failed: %v", what, n, g.name, g.failure.Load())
		}
	}
	f.t.Logf("%-34s converged in %5.2f s, %d requests so far, none failed: %v", what, took.Seconds(), requests, !f.t.Failed())
}

func (f *fleet) failures() (out []int64) {
	for _, g := range f.all {
		out = append(out, g.failed.Load())
	}
	return out
}

// oneByOne makes changes each of which must be applied exactly once.
func (f *fleet) oneByOne(what string) {
	f.t.Helper()
	const n = 5
	before := f.applied()
	for i := range n {
		f.store.mustPut(fmt.Sprint("single", i))
		f.converge(what)
	}
	for i, now := range f.applied() {
		if now-before[i] != n {
			f.t.Errorf("%s: of %d changes %s applied %d", what, n, f.all[i].name, now-before[i])
		}
	}
}

// memory checks that the gateways hold no more than at the start.
func (f *fleet) memory() {
	f.t.Helper()
	for i, g := range f.all {
		var now float64
		allowed := f.heaps[i]*1.2 + 4<<20
		eventually(f.t, g.name+": memory", func() error {
			if now = g.heap(); now > allowed {
				return fmt.Errorf("%.1f MiB live, %.1f at the start", now/(1<<20), f.heaps[i]/(1<<20))
			}
			return nil
		})
		f.t.Logf("%s: %.1f MiB live at the start, %.1f at the end", g.name, f.heaps[i]/(1<<20), now/(1<<20))
	}
}

// await waits until every gateway's state fulfils ok.
func (f *fleet) await(what string, ok func(state) bool) {
	f.t.Helper()
	eventually(f.t, what, func() error {
		for _, g := range f.all {
			if st, err := g.state(); err != nil || !ok(st) {
				return fmt.Errorf("%s shows %+v, %w", g.name, st, errNot)
			}
		}
		return nil
	})
}
