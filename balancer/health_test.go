package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/configcenter/resource"
)

var (
	nodes2 = resource.Nodes{node("127.0.0.1", 1, 1), node("127.0.0.1", 2, 1)}
	nodes3 = resource.Nodes{node("127.0.0.1", 1, 1), node("127.0.0.1", 2, 1), node("127.0.0.1", 3, 1)}
)

func checks(t *testing.T, text string) *resource.Checks {
	t.Helper()
	c := new(resource.Checks)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// fakes answers probes by address.
type fakes struct {
	mu      sync.Mutex
	code    map[string]int
	err     map[string]error
	seen    []ProbeSpec
	now, at int // under way, most at once
	slow    time.Duration
}

func (f *fakes) probe(ctx context.Context, s ProbeSpec) (int, error) {
	f.mu.Lock()
	f.seen = append(f.seen, s)
	f.now++
	f.at = max(f.at, f.now)
	code, err, slow := f.code[s.Addr], f.err[s.Addr], f.slow
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.now--; f.mu.Unlock() }()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if code == 0 && err == nil {
		code = 200
	}
	return code, err
}

func (f *fakes) set(addr string, code int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.code == nil {
		f.code, f.err = map[string]int{}, map[string]error{}
	}
	f.code[addr], f.err[addr] = code, err
}

func (f *fakes) forget() (seen []ProbeSpec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, f.seen = f.seen, nil
	return seen
}

func (f *fakes) most() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *fakes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// states is "port status successes/http/tcp/timeouts" of every node.
func states(r *Registry, key string) string {
	h, ok := r.Health(key)
	if !ok {
		return "no checker"
	}
	var out []string
	for _, n := range h.Nodes {
		c := n.Counter
		out = append(out, fmt.Sprintf("%d %s %d/%d/%d/%d", n.Port, n.Status, c.Success, c.HTTPFailure, c.TCPFailure, c.TimeoutFailure))
	}
	return strings.Join(out, ", ")
}

func expect(t *testing.T, r *Registry, want string) {
	t.Helper()
	synctest.Wait()
	if got := states(r, "u"); got != want {
		t.Errorf("health is %s; want %s", got, want)
	}
}

const active = `{"active":{"healthy":{"interval":1,"successes":2},"unhealthy":{"interval":1,"http_failures":2,"tcp_failures":2,"timeouts":2}}}`

func TestActiveChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := NewRegistry(Options{Probe: f.probe, Start: fromZero})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: nodes2, Checks: checks(t, active)})
		time.Sleep(5 * time.Second)
		expect(t, r, "no checker") // until somebody uses it
		if f.count() != 0 {
			t.Fatal("probed before the first use")
		}
		picks(s, 1)
		expect(t, r, "1 healthy 0/0/0/0, 2 healthy 0/0/0/0")
		time.Sleep(900 * time.Millisecond)
		if f.count() != 0 {
			t.Fatal("probed before the first interval was over")
		}
		f.set("127.0.0.1:2", 500, nil)
		time.Sleep(200 * time.Millisecond)
		expect(t, r, "1 healthy 0/0/0/0, 2 mostly_healthy 0/1/0/0")
		time.Sleep(time.Second)
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/2/0/0")
		if got := picks(s, 4); got != "1 1 1 1 " {
			t.Errorf("picked %s", got)
		}
		f.set("127.0.0.1:2", 302, nil)
		time.Sleep(time.Second)
		expect(t, r, "1 healthy 0/0/0/0, 2 mostly_unhealthy 1/0/0/0")
		if got := picks(s, 2); got != "1 1 " {
			t.Errorf("picked %s", got)
		}
		time.Sleep(time.Second)
		expect(t, r, "1 healthy 0/0/0/0, 2 healthy 2/0/0/0")
		if got := picks(s, 4); !strings.Contains(got, "2") {
			t.Errorf("picked %s", got)
		}
		s.Close()
		expect(t, r, "no checker")
		n := f.count()
		time.Sleep(10 * time.Second)
		if f.count() != n {
			t.Error("probed after the upstream was gone")
		}
	})
}

func TestKindsOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := NewRegistry(Options{Probe: f.probe})
		defer r.Close()
		f.set("127.0.0.1:1", 0, errors.New("connection refused"))
		f.set("127.0.0.1:2", 0, fmt.Errorf("read: %w", context.DeadlineExceeded))
		f.set("127.0.0.1:3", 418, nil) // in neither list: does not count
		s := open(t, r, Config{Key: "u", Nodes: nodes3, Checks: checks(t, active)})
		picks(s, 1)
		time.Sleep(1100 * time.Millisecond)
		expect(t, r, "1 mostly_healthy 0/0/1/0, 2 mostly_healthy 0/0/0/1, 3 healthy 0/0/0/0")
		f.set("127.0.0.1:1", 404, nil) // a failure of another kind keeps the first count
		time.Sleep(time.Second)
		expect(t, r, "1 mostly_healthy 0/1/1/0, 2 unhealthy 0/0/0/2, 3 healthy 0/0/0/0")
		f.set("127.0.0.1:1", 200, nil)
		time.Sleep(time.Second)
		expect(t, r, "1 mostly_healthy 1/0/0/0, 2 unhealthy 0/0/0/2, 3 healthy 0/0/0/0")
	})
}

func TestProbeSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := NewRegistry(Options{Probe: f.probe, Resolver: names{"a.test": "10.0.0.9"}})
		defer r.Close()
		conf := Config{Key: "u", Nodes: append(nodes2[:1:1], node("a.test", 80, 1)), Checks: checks(t, `{"active":{
			"type":"https","host":"check.test","port":8443,"http_path":"/up","https_verify_certificate":false,
			"req_headers":["User-Agent: x"],"healthy":{"interval":1}}}`)}
		s := open(t, r, conf)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		picks(s, 1)
		time.Sleep(1200 * time.Millisecond)
		byAddr := map[string]ProbeSpec{}
		for _, p := range f.forget() {
			byAddr[p.Addr] = p
		}
		p := byAddr["127.0.0.1:8443"]
		if p.Type != "https" || p.Host != "check.test" || p.Path != "/up" || p.Verify || p.Method != "GET" || len(p.Header) != 1 {
			t.Errorf("%+v", p)
		}
		if p := byAddr["10.0.0.9:8443"]; p.Host != "a.test" { // a domain is probed by its name
			t.Errorf("%+v", p)
		}
		h, _ := r.Health("u")
		b, _ := json.Marshal(h)
		want := `{"name":"u","type":"https","nodes":[{"ip":"127.0.0.1","port":8443,"hostname":"check.test","status":"healthy",` +
			`"counter":{"success":0,"http_failure":0,"tcp_failure":0,"timeout_failure":0}},{"ip":"10.0.0.9","port":8443,"hostname":"check.test",` +
			`"status":"healthy","counter":{"success":0,"http_failure":0,"tcp_failure":0,"timeout_failure":0}}]}`
		if string(b) != want {
			t.Errorf("got  %s\nwant %s", b, want)
		}
		conf.ProbeHost = "rewritten.test"
		open(t, r, conf)
		f.forget()
		time.Sleep(2 * time.Second)
		for _, p := range f.forget() {
			if p.Host != "rewritten.test" && p.Addr == "127.0.0.1:8443" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestHealthSurvivesChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := NewRegistry(Options{Probe: f.probe})
		defer r.Close()
		f.set("127.0.0.1:2", 500, nil)
		conf := Config{Key: "u", Nodes: nodes2, Checks: checks(t, active)}
		v1 := open(t, r, conf)
		picks(v1, 1)
		time.Sleep(2200 * time.Millisecond)
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/2/0/0")

		conf.Nodes = nodes3 // scaled out
		v2 := open(t, r, conf)
		v1.Close()
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/2/0/0, 3 healthy 0/0/0/0")
		if got := picks(v2, 6); strings.Contains(got, "2") || !strings.Contains(got, "3") {
			t.Errorf("picked %s", got)
		}
		conf.Checks = checks(t, strings.Replace(active, `"successes":2`, `"successes":1`, 1))
		v3 := open(t, r, conf)
		v2.Close()
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/2/0/0, 3 healthy 0/0/0/0")
		f.set("127.0.0.1:2", 200, nil)
		time.Sleep(1100 * time.Millisecond) // the new rules hold
		expect(t, r, "1 healthy 0/0/0/0, 2 healthy 1/0/0/0, 3 healthy 0/0/0/0")

		f.set("127.0.0.1:1", 500, nil)
		time.Sleep(2 * time.Second)
		conf.Checks = nil
		v4 := open(t, r, conf)
		v3.Close()
		expect(t, r, "no checker")
		if got := picks(v4, 6); !strings.Contains(got, "1") {
			t.Errorf("without checks everyone counts as up; picked %s", got)
		}
	})
}

func TestNoHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{NoHealth: true, Probe: (&fakes{}).probe})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: nodes2, Checks: checks(t, active)})
		picks(s, 1)
		expect(t, r, "no checker")
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{slow: 300 * time.Millisecond}
		r := NewRegistry(Options{Probe: f.probe})
		defer r.Close()
		var many resource.Nodes
		for i := range 20 {
			many = append(many, node("127.0.0.1", 100+i, 1))
		}
		s := open(t, r, Config{Key: "u", Nodes: many, Checks: checks(t, `{"active":{"concurrency":2,"healthy":{"interval":1}}}`)})
		picks(s, 1)
		time.Sleep(10 * time.Second) // a round takes 3 s, the next one begins after 1 s
		if n := f.most(); n != 2 {
			t.Errorf("%d probes at once", n)
		}
	})
}

func fail(e *Endpoint, o Outcome) { e.Begin(); e.Done(o) }

func TestPassiveChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{Start: fromZero})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: nodes2, Checks: checks(t, `{"active":{"http_path":"/"},"passive":{
			"healthy":{"http_statuses":[200],"successes":2},"unhealthy":{"http_statuses":[503],"http_failures":2,"tcp_failures":2,"timeouts":2}}}`)})
		picks(s, 1)
		e := s.Endpoints()[1]
		fail(e, Outcome{Final: true, Status: 503})
		expect(t, r, "1 healthy 0/0/0/0, 2 mostly_healthy 0/1/0/0")
		fail(e, Outcome{Final: true, Status: 500}) // not listed
		fail(e, Outcome{Final: true, Status: 200})
		expect(t, r, "1 healthy 0/0/0/0, 2 mostly_healthy 1/0/0/0")
		fail(e, Outcome{Fault: Broken})
		fail(e, Outcome{Fault: Timeout})
		expect(t, r, "1 healthy 0/0/0/0, 2 mostly_healthy 0/0/1/1")
		fail(e, Outcome{Fault: Broken})
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/0/2/1")
		if got := picks(s, 3); got != "1 1 1 " {
			t.Errorf("picked %s", got)
		}
		fail(e, Outcome{Final: true, Status: 200})
		fail(e, Outcome{Final: true, Status: 200})
		expect(t, r, "1 healthy 0/0/0/0, 2 healthy 2/0/0/0")
	})
}

// Without a passive part, a try that is followed by another one still counts,
// by the library's limits; what the client gets does not.
func TestPassiveDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: nodes2, Checks: checks(t, `{"active":{}}`)})
		picks(s, 1)
		e := s.Endpoints()[0]
		for range 10 {
			fail(e, Outcome{Final: true, Fault: Broken, Status: 502})
			fail(e, Outcome{Final: true, Status: 503})
		}
		expect(t, r, "1 healthy 0/0/0/0, 2 healthy 0/0/0/0")
		fail(e, Outcome{Fault: Broken})
		fail(e, Outcome{Fault: Broken})
		expect(t, r, "1 unhealthy 0/0/2/0, 2 healthy 0/0/0/0")
	})
}

func TestPassiveStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Stream: true, Nodes: nodes2, Checks: checks(t, `{"active":{"type":"tcp"},"passive":{"unhealthy":{"tcp_failures":1}}}`)})
		picks(s, 1)
		fail(s.Endpoints()[0], Outcome{Final: true, Status: 200})
		fail(s.Endpoints()[1], Outcome{Final: true, Status: 502})
		expect(t, r, "1 healthy 0/0/0/0, 2 unhealthy 0/0/1/0")
	})
}

func down(s *Set, i int) {
	fail(s.Endpoints()[i], Outcome{Fault: Broken})
	fail(s.Endpoints()[i], Outcome{Fault: Broken})
}

func TestAllDownMeansAllUsed(t *testing.T) {
	for kind := range Kinds {
		r := NewRegistry(Options{})
		s := open(t, r, Config{Key: "u", Kind: kind, Nodes: nodes2, Checks: checks(t, `{"active":{}}`)})
		picks(s, 1)
		down(s, 0)
		down(s, 1)
		var tried []*Endpoint
		for range 2 {
			e := s.Pick(1, tried)
			if e == nil {
				t.Fatalf("%s: nothing after %d tries", kind, len(tried))
			}
			tried = append(tried, e)
		}
		r.Close()
	}
}

func TestPriorityAsBackup(t *testing.T) {
	for kind := range Kinds {
		r := NewRegistry(Options{})
		backup := node("127.0.0.1", 3, 1)
		backup.Priority = -1
		s := open(t, r, Config{Key: "u", Kind: kind, Nodes: append(nodes2[:2:2], backup), Checks: checks(t, `{"active":{}}`)})
		if got := picks(s, 4); strings.Contains(got, "3") {
			t.Errorf("%s: picked %s", kind, got)
		}
		down(s, 0)
		down(s, 1)
		if got := picks(s, 4); got != "3 3 3 3 " {
			t.Errorf("%s: picked %s with the first group down", kind, got)
		}
		r.Close()
	}
}

func TestHealthLeavesTheRingAlone(t *testing.T) {
	r := NewRegistry(Options{})
	defer r.Close()
	s := open(t, r, Config{Key: "u", Kind: "chash", Nodes: nodes3, Checks: checks(t, `{"active":{}}`)})
	before := map[uint64]*Endpoint{}
	for i := range 1000 {
		k := HashKey(fmt.Sprint(i))
		before[k] = s.Pick(k, nil)
	}
	down(s, 1)
	for k, e := range before {
		now := s.Pick(k, nil)
		if e.Port != 2 && now != e || now.Port == 2 {
			t.Fatalf("a key of %d went to %d", e.Port, now.Port)
		}
	}
}
