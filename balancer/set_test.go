package balancer

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"sluice/configcenter/resource"
)

func node(host string, port, weight int) resource.Node {
	return resource.Node{Host: host, Port: port, Weight: weight}
}

// open opens a set and fails the test if that fails.
func open(t *testing.T, r *Registry, c Config) *Set {
	t.Helper()
	s, err := r.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fromZero() uint64 { return 0 }

func picks(s *Set, n int) string {
	out := ""
	for range n {
		e := s.Pick(HashKey("k"), nil)
		if e == nil {
			return out + "none"
		}
		out += fmt.Sprint(e.Port, " ")
	}
	return out
}

func TestNothingIsLeftBehind(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	for i := range 10000 {
		s := open(t, r, Config{
			Key: fmt.Sprint("/upstreams/", i%50), Kind: []string{"roundrobin", "least_conn"}[i%2],
			Nodes: resource.Nodes{node("127.0.0.1", 1+i, 1), node("127.0.0.2", 80, 1)},
		})
		e := s.Pick(0, nil)
		e.Begin()
		if i%3 == 0 { // the request outlives its version
			s.Close()
			e.Done(Outcome{})
		} else {
			e.Done(Outcome{})
			s.Close()
		}
		s.Close() // twice is harmless
	}
	if ups, states := r.Len(); ups != 0 || states != 0 {
		t.Errorf("%d upstreams and %d states are left", ups, states)
	}
}

// Versions come and go, addresses change and servers fail while requests run.
func TestEverythingAtOnce(t *testing.T) {
	dns := &scripted{names: names{"a.test": "10.0.0.1 10.0.0.2"}}
	r := NewRegistry(Options{Resolver: dns})
	check := checks(t, `{"active":{},"passive":{"healthy":{"successes":1},"unhealthy":{"http_failures":1}}}`)
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			for i := range 150 {
				kind := []string{"roundrobin", "chash", "least_conn", "ewma"}[(g+i)%4]
				s, err := r.Open(Config{Key: fmt.Sprint(i % 3), Kind: kind, Port: 80, Checks: check, Nodes: resource.Nodes{
					node("a.test", 0, 1), node("127.0.0.1", 1+i%7, 2), node("127.0.0.1", 10, 1),
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Ready(t.Context()); err != nil {
					t.Error(err)
				}
				var tried []*Endpoint
				for n := range 20 {
					e := s.Pick(uint64(n)<<24, tried)
					if e == nil {
						tried = tried[:0]
						continue
					}
					e.Begin()
					e.Slot(func() any { return new(int) })
					e.Done(Outcome{Final: true, Status: []int{200, 503}[n%2]})
					tried = append(tried, e)
				}
				if i%10 == 0 {
					dns.change(names{"a.test": fmt.Sprintf("10.0.%d.1", i)}, nil)
				}
				r.Health("1")
				s.Close()
			}
		})
	}
	work.Wait()
	r.Close()
	if ups, states := r.Len(); ups+states != 0 {
		t.Errorf("%d upstreams and %d states are left", ups, states)
	}
}

func TestNewestSetDecidesAboutChecks(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	conf := Config{Key: "u", Nodes: nodes2, Checks: checks(t, `{"active":{}}`)}
	a := open(t, r, conf)
	picks(a, 1)
	conf.Checks = nil
	b := open(t, r, conf)
	if _, ok := r.Health("u"); ok {
		t.Error("checked, although the newest set has no checks")
	}
	b.Close() // given up: the one before counts again
	if _, ok := r.Health("u"); !ok {
		t.Error("not checked")
	}
	a.Close()
	if _, ok := r.Health("u"); ok {
		t.Error("checked, although nobody is left")
	}
}

type closer struct{ closed *int }

func (c closer) Close() error { *c.closed++; return nil }

func TestStateOutlivesVersions(t *testing.T) {
	r := NewRegistry(Options{Start: fromZero})
	defer r.Close()
	nodes := resource.Nodes{node("127.0.0.1", 1, 1), node("127.0.0.1", 2, 1)}
	conf := Config{Key: "u", Kind: "least_conn", Nodes: nodes}
	v1 := open(t, r, conf)
	held := v1.Pick(0, nil)
	held.Begin()
	closed := 0
	held.Slot(func() any { return closer{&closed} })

	conf.Nodes = append(nodes[:1:1], node("127.0.0.1", 3, 1)) // 2 is scaled in, 3 out
	v2 := open(t, r, conf)
	v1.Close()
	for range 4 { // 1 holds a request: the other one is better, whichever version asks
		if e := v2.Pick(0, nil); e.Port != 3 {
			t.Fatalf("picked %d", e.Port)
		}
	}
	conf.Nodes = conf.Nodes[1:]
	v3 := open(t, r, conf) // 1 is removed while it holds a request …
	v2.Close()
	conf.Nodes = append(conf.Nodes[:1:1], nodes[0])
	v4 := open(t, r, conf) // … and comes back
	v3.Close()
	if e := v4.Pick(0, nil); e.Port != 3 {
		t.Errorf("picked %d, which still holds a request", e.Port)
	}
	if closed != 0 {
		t.Error("connections were closed while a request used them")
	}
	if e := v4.Endpoints()[1]; e.State != held.State || e.Active() != 1 {
		t.Error("the state was not found again")
	}
	v4.Close()
	if _, states := r.Len(); states != 1 {
		t.Errorf("%d states, want the one that is in use", states)
	}
	held.Done(Outcome{})
	if ups, states := r.Len(); ups+states != 0 || closed != 1 {
		t.Errorf("%d upstreams, %d states, closed %d times", ups, states, closed)
	}
}

func TestIdentitySeparatesConnections(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	conf := Config{Key: "u", Identity: "https sni=a cert=1", Nodes: resource.Nodes{node("127.0.0.1", 1, 1)}}
	a := open(t, r, conf)
	conf.Identity = "https sni=a cert=2"
	b := open(t, r, conf)
	conf.Nodes = resource.Nodes{node("127.0.0.1", 1, 9)}
	c := open(t, r, conf)
	state := func(s *Set) *State { return s.Endpoints()[0].State }
	if state(a) == state(b) {
		t.Error("two client certificates share a state, and so their connections")
	}
	if state(b) != state(c) {
		t.Error("a change of weight made a new state")
	}
}

func TestSlotRace(t *testing.T) {
	var s State
	var wg sync.WaitGroup
	got := make([]any, 8)
	for i := range got {
		wg.Go(func() { got[i] = s.Slot(func() any { return new(int) }) })
	}
	wg.Wait()
	for _, v := range got {
		if v != got[0] {
			t.Fatal("two values")
		}
	}
}

func TestRoundRobinGoesOnAcrossVersions(t *testing.T) {
	r := NewRegistry(Options{Start: fromZero})
	defer r.Close()
	conf := Config{Key: "u", Nodes: resource.Nodes{node("127.0.0.1", 1, 1), node("127.0.0.1", 2, 1), node("127.0.0.1", 3, 1)}}
	a := open(t, r, conf)
	first := picks(a, 2)
	b := open(t, r, conf)
	a.Close()
	if got := first + picks(b, 4); got != "1 2 3 1 2 3 " {
		t.Error(got)
	}
}

func TestSingleNode(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	for kind := range Kinds {
		s := open(t, r, Config{Key: kind, Kind: kind, Nodes: resource.Nodes{node("127.0.0.1", 0, 0)}, Port: 80})
		e := s.Pick(0, nil)
		if e == nil || e.Addr != "127.0.0.1:80" || s.Pick(0, []*Endpoint{e}) != e {
			t.Errorf("%s: a single node is used whatever its weight, and again on a retry", kind)
		}
		if !s.Portless() || s.Nodes() != 1 || s.Hashed() != (kind == "chash") {
			t.Errorf("%s: portless %v, nodes %d, hashed %v", kind, s.Portless(), s.Nodes(), s.Hashed())
		}
	}
}

func TestNoNodes(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	s := open(t, r, Config{Key: "u"})
	if err := s.Ready(t.Context()); !errors.Is(err, ErrNoNodes) || s.Pick(0, nil) != nil {
		t.Errorf("%v", err)
	}
	if _, err := r.Open(Config{Key: "u", Kind: "x"}); err == nil || err.Error() != "invalid balancer type: x" {
		t.Errorf("%v", err)
	}
}

// A domain's IPv6 address has the place on the ring that it has in APISIX, whose
// DNS client writes addresses out in full.
func TestRingOfResolvedIPv6(t *testing.T) {
	r := NewRegistry(Options{Resolver: names{"six.test": "fd00::1"}})
	defer r.Close()
	s := open(t, r, Config{Key: "u", Kind: "chash", Nodes: resource.Nodes{node("six.test", 80, 1)}})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := s.Endpoints()[0]
	if e.Addr != "[fd00::1]:80" || e.ring != "[fd00:0:0:0:0:0:0:1]:80" {
		t.Errorf("%s, on the ring %s", e.Addr, e.ring)
	}
}

func TestAllHealth(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	for _, key := range []string{"b", "a", "c"} {
		picks(open(t, r, Config{Key: key, Nodes: nodes2, Checks: checks(t, `{"active":{}}`)}), 1)
	}
	got := ""
	for _, h := range r.AllHealth() {
		got += h.Name
	}
	if got != "abc" {
		t.Error(got)
	}
}

func TestNodeForms(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	s := open(t, r, Config{Key: "u", Port: 443, Nodes: resource.Nodes{
		node("[::1]", 80, 1), node("2001:db8::1", 0, 2), node("127.0.0.1", 80, 3), node("127.0.0.1", 80, 5),
	}})
	got := ""
	for _, e := range s.Endpoints() {
		got += fmt.Sprint(e.Addr, "=", e.Weight, " ", e.Host, "; ")
	}
	want := "[::1]:80=1 ::1; [2001:db8::1]:443=2 2001:db8::1; 127.0.0.1:80=5 127.0.0.1; "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// One request's share: pick, begin, connections, done, with health checks.
func BenchmarkSetPick(b *testing.B) {
	r := NewRegistry(Options{})
	defer r.Close()
	s, err := r.Open(Config{Key: "u", Nodes: nodes2, Checks: &resource.Checks{Passive: &resource.PassiveCheck{Healthy: &resource.Healthy{}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := s.Pick(0, nil)
			e.Begin()
			if e.Slot(func() any { return e }) == nil {
				b.Error("no slot")
			}
			e.Done(Outcome{Final: true, Status: 200})
		}
	})
}

// A closer that uses the registry does not wait for itself.
func TestCloserMayUseRegistry(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	s := open(t, r, Config{Key: "u", Nodes: nodes2})
	left := -1
	s.Endpoints()[0].Slot(func() any { return closeFunc(func() { _, left = r.Len() }) })
	s.Close()
	if left != 0 {
		t.Errorf("%d states when the slot was closed", left)
	}
}

type closeFunc func()

func (f closeFunc) Close() error { f(); return nil }
