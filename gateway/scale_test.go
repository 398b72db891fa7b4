package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/router"
)

// routes is a full batch of n routes over hosts of their own thousands.
func routes(n int) configcenter.Batch {
	b := configcenter.Batch{Rev: int64(n), Full: true}
	b.Changes = append(b.Changes, configcenter.Change{Kind: resource.Upstreams, ID: "1", Create: 1, Mod: 1,
		Value: json.RawMessage(`{"id":"1","nodes":{"127.0.0.1:1980":1},"type":"roundrobin"}`)})
	for i := range n {
		b.Changes = append(b.Changes, oneRoute(i, int64(i+2)))
	}
	return b
}

func oneRoute(i int, rev int64) configcenter.Change {
	return configcenter.Change{Kind: resource.Routes, ID: fmt.Sprintf("r%06d", i), Create: rev, Mod: rev,
		Value: json.RawMessage(fmt.Sprintf(`{"id":"r%06d","uri":"/api/v%d/things/%d","host":"h%d.example.com","upstream_id":"1","create_time":1700000000,"update_time":1700000000}`, i, i%7, i, i%1000))}
}

func quiet(t testing.TB) *Gateway {
	catalog, _, err := plugins.NewCatalog(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := New(Options{Catalog: catalog, Shared: &plugins.Shared{}, Mode: router.HostURI, Grace: time.Millisecond})
	t.Cleanup(g.Close)
	return g
}

// take takes one batch as Follow does.
func (g *Gateway) take(snap *configcenter.Snapshot, b configcenter.Batch) *configcenter.Snapshot {
	next, _ := snap.Next(b)
	t, problems := g.comp.compile(g.live.Load(), next, next.Changes())
	g.publish(t, problems)
	return next
}

func BenchmarkLoad100k(b *testing.B) {
	batch := routes(100_000)
	b.ReportAllocs()
	for b.Loop() {
		g := quiet(b)
		g.take(nil, batch)
	}
}

func BenchmarkChangeOneOf100k(b *testing.B) {
	g := quiet(b)
	snap := g.take(nil, routes(100_000))
	rev := snap.Rev()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rev++
		snap = g.take(snap, configcenter.Batch{Rev: rev, Changes: []configcenter.Change{oneRoute(i%100_000, rev)}})
	}
}

// BenchmarkHeapPerRoute reports what one simple route keeps of the heap.
func BenchmarkHeapPerRoute(b *testing.B) {
	const n = 100_000
	var before, after runtime.MemStats
	for b.Loop() {
		g := quiet(b)
		runtime.GC()
		runtime.ReadMemStats(&before)
		batch := routes(n)
		g.take(nil, batch)
		batch = configcenter.Batch{}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/route")
		runtime.KeepAlive(g)
	}
}

func TestUnchangedRoutesAreReused(t *testing.T) {
	g := quiet(t)
	snap := g.take(nil, routes(100))
	before := g.comp.routes["r000007"].route
	snap = g.take(snap, configcenter.Batch{Rev: 1000, Changes: []configcenter.Change{oneRoute(8, 1000)}})
	if g.comp.routes["r000007"].route != before {
		t.Error("a change elsewhere rebuilt the route")
	}
	full := routes(100)
	full.Rev = 1001
	full.Changes[9] = oneRoute(8, 1000)
	g.take(snap, full)
	if g.comp.routes["r000007"].route != before {
		t.Error("a full batch of the same revisions rebuilt the route")
	}
}

func TestRouterEqualsAFullRebuild(t *testing.T) {
	g := quiet(t)
	snap := g.take(nil, routes(200))
	for i := range int64(50) {
		c := oneRoute(int(i*3), 1000+i)
		if i%5 == 0 {
			c.Value = nil
		}
		snap = g.take(snap, configcenter.Batch{Rev: 1000 + i, Changes: []configcenter.Change{c}})
	}
	r := g.live.Load().router
	if !sameRouter(g.o.Mode, r) || !sameRouter(g.o.Mode, g.comp.rebuiltRouter()) {
		t.Error("the incremental router differs from a full rebuild")
	}
	other, _ := r.With(nil, []string{"r000001"})
	leadsTo := func(to *route) uint64 { return uint64(to.serial) }
	if other.Digest(leadsTo) == r.Digest(leadsTo) {
		t.Error("a missing route does not change the checksum")
	}
}

func TestBadObjectKeepsItsLastGoodForm(t *testing.T) {
	g := quiet(t)
	snap := g.take(nil, routes(3))
	bad := oneRoute(1, 50)
	bad.Value = json.RawMessage(`{"uri":"/x","vars":[["a","??","b"]],"upstream_id":"1"}`)
	snap = g.take(snap, configcenter.Batch{Rev: 50, Changes: []configcenter.Change{bad}})
	if n := len(g.Problems()); n != 1 {
		t.Fatalf("%d problems: %v", n, g.Problems())
	}
	in := router.Input{Host: "h1.example.com", Path: "/api/v1/things/1", Method: "GET"}
	if _, ok := g.live.Load().router.Match(&in); !ok {
		t.Error("the last good form is gone")
	}
	g.take(snap, configcenter.Batch{Rev: 51, Changes: []configcenter.Change{oneRoute(1, 51)}})
	if n := len(g.Problems()); n != 0 {
		t.Errorf("mended, still %d problems: %v", n, g.Problems())
	}
}

func TestNothingIsLeftOfDeletedRoutes(t *testing.T) {
	g := quiet(t)
	snap := g.take(nil, routes(2))
	for i := range int64(1000) {
		id := fmt.Sprintf("u%d", i)
		up := configcenter.Change{Kind: resource.Upstreams, ID: id, Create: 10, Mod: 100 + 4*i, Value: json.RawMessage(`{"nodes":{"127.0.0.1:1":1}}`)}
		r := configcenter.Change{Kind: resource.Routes, ID: id, Create: 10, Mod: 101 + 4*i, Value: json.RawMessage(`{"uri":"/u","upstream_id":"` + id + `"}`)}
		in := configcenter.Change{Kind: resource.Routes, ID: "i" + id, Create: 10, Mod: 101 + 4*i, Value: json.RawMessage(`{"uri":"/u","upstream":{"nodes":{"127.0.0.1:1":1}}}`)}
		snap = g.take(snap, configcenter.Batch{Rev: 101 + 4*i, Changes: []configcenter.Change{up, r, in}})
		for j := range []*configcenter.Change{&up, &r, &in} {
			c := []*configcenter.Change{&up, &r, &in}[j]
			c.Value, c.Mod = nil, 102+4*i
		}
		snap = g.take(snap, configcenter.Batch{Rev: 102 + 4*i, Changes: []configcenter.Change{r, in, up}})
	}
	k := g.comp
	if len(k.routes) != 2 || len(k.users) != 0 || len(k.upstreams.users) != 1 || len(k.upstreams.slots) != 1 || k.upstreams.size > 3 {
		t.Errorf("left: %d routes, %d users, %d slot users, %d slots of %d", len(k.routes), len(k.users),
			len(k.upstreams.users), len(k.upstreams.slots), k.upstreams.size)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if ups, _ := k.upstreams.registry.Len(); ups == 1 {
			return
		}
		runtime.Gosched()
	}
	ups, states := k.upstreams.registry.Len()
	t.Errorf("the registry still has %d upstreams and %d endpoints", ups, states)
}
