package all

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/redistest"
)

// cycles is how many routes are made and deleted, over all plugins.
const cycles = 10_000

// sampled is one in how many bytes allocated is looked at, to tell who keeps memory.
const sampled = 512

// TestCycles makes and deletes routes with every plugin, each alone and all
// together, under ever new names and configurations, some of them used in
// between. Nothing may be left of them: goroutines, file descriptors, shared
// values, memory, timers.
func TestCycles(t *testing.T) {
	defer profile()()
	c := newCycler(t)
	before, after := c.cycle(1, cycles/len(c.users)+1)
	if after.goroutines > before.goroutines {
		t.Errorf("%d goroutines before, %d after:\n%s", before.goroutines, after.goroutines, stacks())
	}
	if after.files > before.files {
		t.Errorf("%d open files before, %d after: %v", before.files, after.files, openFiles())
	}
}

// TestCyclesBeside does it, fewer times, while other routes have the plugins, too,
// and keep alive what they share: nothing may stay in that either. They also keep
// connections, as many as they happen to need, so those are not counted.
func TestCyclesBeside(t *testing.T) {
	defer profile()()
	c := newCycler(t)
	c.make(0, true)
	c.use(0)
	c.cycle(1, cycles/2/len(c.users)+1)
}

// profile has memory sampled until what it returns is called.
func profile() (end func()) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = sampled
	return func() { runtime.MemProfileRate = rate }
}

// cycle does rounds, numbered from first on, and wants no shared values and no
// memory to be left of them. It returns what was used before and after.
func (c *cycler) cycle(first, rounds int) (before, after *usage) {
	c.t.Helper()
	warm := 3 + rounds/20
	for n := range warm {
		c.round(first+n, true)
	}
	before = c.settle(nil)
	for n := range rounds {
		c.round(first+warm+n, n%8 == 0)
	}
	after = c.settle(before)
	if after.shared > before.shared {
		c.t.Errorf("%d shared values before, %d after", before.shared, after.shared)
	}
	leaks := before.kept(after, rounds)
	for end := time.Now().Add(patience); len(leaks) > 0 && time.Now().Before(end); {
		leaks = before.kept(c.settle(before), rounds) // what is on its way out is none
	}
	for _, l := range leaks {
		c.t.Error(l)
	}
	return before, after
}

// kept says what memory is in use in after that was not before.
func (before *usage) kept(after *usage, rounds int) (leaks []string) {
	var kept float64
	for at, n := range after.memory {
		was := before.memory[at]
		if at.stays() {
			continue
		}
		kept += n.bytes - was.bytes
		if grown := n.objects - was.objects; grown > float64(rounds)*0.6 && n.seen-was.seen >= 12 {
			leaks = append(leaks, fmt.Sprintf("%.0f objects more than before in %d rounds, made at\n%s", grown, rounds, at))
		}
	}
	if kept > 4<<20 {
		leaks = append(leaks, fmt.Sprintf("%.0f bytes more than before after %d cycles", kept, cycles))
	}
	return leaks
}

// cycler makes and deletes routes.
type cycler struct {
	*rig
	t     *testing.T
	users []*isolation // one for each probe
	redis int
}

func newCycler(t *testing.T) *cycler {
	reg := Registry()
	names := slices.Sorted(maps.Keys(reg))
	catalog, _, err := plugins.NewCatalog(reg, names)
	if err != nil {
		t.Fatal(err)
	}
	c := &cycler{rig: newRig(t, catalog), t: t, redis: redistest.Single(t)}
	parts := map[string]any{}
	for name, own := range credentials {
		parts[name] = json.RawMessage(c.fill(own.part(alice.who), "", c.redis))
	}
	c.put(resource.Consumers, alice.who, map[string]any{"username": alice.who, "plugins": parts})
	for _, name := range names {
		list := probesOf(t, name)
		for i := range list {
			c.users = append(c.users, &isolation{rig: c.rig, t: t, spec: reg[name], probe: &list[i]})
		}
		if text := list[0].metadata; text != "" {
			c.put(resource.PluginMetadata, name, c.fill(text, "", c.redis))
		}
	}
	return c
}

// change writes, or with an empty value deletes, a route.
func (c *cycler) change(id, value string) (rev int64) {
	c.t.Helper()
	ctx := context.Background()
	if value == "" {
		if err := c.center.Delete(ctx, resource.Routes, id); err != nil {
			c.t.Fatal(err)
		}
		return 0
	}
	made, err := c.center.Put(ctx, resource.Routes, id, []byte(value), configcenter.PutOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made.Mod
}

// round makes routes, and deletes them.
func (c *cycler) round(n int, used bool) {
	c.t.Helper()
	ids, last := c.make(n, used)
	if used {
		c.use(n)
	}
	for _, id := range ids {
		c.change(id, "")
	}
	c.await(last + int64(len(ids)))
}

// make makes a route for each probe and, when they are to be used, one for all
// plugins. It returns their ids, and the revision of the last.
func (c *cycler) make(n int, used bool) (ids []string, last int64) {
	c.t.Helper()
	up := `"upstream":{"nodes":{"` + c.echo.Listener.Addr().String() + `":1}}`
	together := map[string]string{}
	put := func(id, conf string) {
		ids = append(ids, id)
		last = c.change(id, `{"uri":"/*","host":"`+id+`","plugins":{`+conf+`},`+up+`}`)
	}
	for i, u := range c.users {
		id := fmt.Sprintf("r%d-%d", n, i)
		conf := fmt.Sprintf(`"%s":%s`, u.spec.Name, c.distinct(u, id))
		together[u.spec.Name] = conf
		if !u.spec.Auth {
			conf += `,"key-auth":{}`
		}
		put(id, conf)
	}
	if used {
		put(fmt.Sprintf("all%d", n), strings.Join(slices.Collect(maps.Values(together)), ","))
	}
	c.await(last)
	if problems := c.g.Problems(); len(problems) > 0 {
		c.t.Fatal(problems)
	}
	return ids, last
}

// distinct is a configuration unlike all others.
func (c *cycler) distinct(u *isolation, id string) string {
	conf := strings.TrimSpace(c.fill(u.probe.conf, id, c.redis))
	comma := ","
	if conf == "{}" {
		comma = ""
	}
	return `{"_meta":{"error_response":"` + id + `"}` + comma + conf[1:]
}

func (c *cycler) await(rev int64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.g.WaitRev(ctx, rev); err != nil {
		c.t.Fatalf("revision %d: %v\n%s", rev, err, stacks())
	}
}

// use calls every route.
func (c *cycler) use(n int) {
	h := client()
	defer h.CloseIdleConnections()
	for i, u := range c.users {
		res, err := h.Do(u.request(&call{party: alice, route: fmt.Sprintf("r%d-%d", n, i), canary: alice.canary(n*1000 + i)}))
		if err != nil {
			c.t.Fatalf("%s: %v", u.spec.Name, err)
		}
		res.Body.Close()
	}
	res, err := h.Do(c.users[0].request(&call{party: alice, route: fmt.Sprintf("all%d", n), canary: alice.canary(n)}))
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
}

// use of the process.
type usage struct {
	goroutines, files, shared int
	memory                    map[place]amount // in use, by who made it
}

// place is a stack.
type place [16]uintptr

type amount struct{ objects, bytes, seen float64 }

func (p place) String() string {
	var b strings.Builder
	p.each(func(f runtime.Frame) { fmt.Fprintf(&b, "  %s %s:%d\n", f.Function, f.File, f.Line) })
	return b.String()
}

// in reports whether a function whose name begins so is on the stack.
func (p place) in(function string) bool {
	found := false
	p.each(func(f runtime.Frame) { found = found || strings.HasPrefix(f.Function, function) })
	return found
}

// stays says that memory of that place is not given back, or counted otherwise:
// series of routes that are gone stay, up to a limit; the centre has a history of
// what this test wrote; connections are files; and the runtime keeps as many
// goroutines as there ever were at once.
func (p place) stays() bool {
	return p.in("sluice/plugins/internal/metrics.") || p.in("sluice/plugins/all.(*cycler)") ||
		p.in("net/http.(*Transport)") || p.in("runtime.malg")
}

func (p place) each(f func(runtime.Frame)) {
	frames := runtime.CallersFrames(p[:slices.Index(append(p[:], 0), 0)])
	for {
		frame, more := frames.Next()
		f(frame)
		if !more {
			return
		}
	}
}

// settle waits until no more is used than before, or for as long as that can
// take, and says what is. Without before it waits until it no longer gets less.
func (c *cycler) settle(before *usage) *usage {
	c.t.Helper()
	var u *usage
	calm := 0
	for end := time.Now().Add(patience); time.Now().Before(end); {
		next := c.usage()
		switch {
		case before != nil && next.goroutines <= before.goroutines && next.files <= before.files && next.shared <= before.shared:
			calm = 100
		case u != nil && next.goroutines == u.goroutines && next.files == u.files && next.shared == u.shared:
			calm++
		default:
			calm = 0
		}
		u = next
		if calm >= 100 || before == nil && calm >= 20 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	u.memory = inUse()
	return u
}

func (c *cycler) usage() *usage {
	c.sink.mu.Lock()
	c.sink.items = nil
	c.sink.mu.Unlock()
	c.log.mu.Lock()
	c.log.b.Reset()
	c.log.mu.Unlock()
	return &usage{goroutines: runtime.NumGoroutine(), files: len(openFiles()), shared: c.shared.Len()}
}

// inUse is who holds how much memory, estimated from the sample.
func inUse() map[place]amount {
	for range 3 { // the profile is of the collection before the last
		runtime.GC()
	}
	records := make([]runtime.MemProfileRecord, 1<<17)
	n, ok := runtime.MemProfile(records, false)
	for !ok {
		records = make([]runtime.MemProfileRecord, 2*n)
		n, ok = runtime.MemProfile(records, false)
	}
	found := map[place]amount{}
	for i := range records[:n] {
		r := &records[i]
		objects, bytes := float64(r.InUseObjects()), float64(r.InUseBytes())
		if objects == 0 {
			continue
		}
		var at place
		copy(at[:], r.Stack())
		scale := 1 / (1 - math.Exp(-bytes/objects/sampled))
		was := found[at]
		found[at] = amount{was.objects + objects*scale, was.bytes + bytes*scale, was.seen + objects}
	}
	return found
}

func openFiles() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var list []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			list = append(list, to)
		}
	}
	return list
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}
