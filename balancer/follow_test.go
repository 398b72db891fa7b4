package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/configcenter/resource"
)

// names is a resolver that knows everything at once.
type names map[string]string

func (n names) Resolve(_ context.Context, host string) (list []netip.Addr, until time.Time, err error) {
	if n[host] == "" {
		return nil, time.Now().Add(time.Second), fmt.Errorf("%w: %s", ErrNotFound, host)
	}
	for _, a := range strings.Fields(n[host]) {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, time.Now().Add(10 * time.Second), nil
}

// scripted is a resolver whose answers change.
type scripted struct {
	mu    sync.Mutex
	names names
	err   error
	gate  chan struct{} // when not nil: answers wait for it
	calls atomic.Int64
}

func (s *scripted) Resolve(ctx context.Context, host string) ([]netip.Addr, time.Time, error) {
	s.mu.Lock()
	s.calls.Add(1)
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, time.Time{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, time.Now(), s.err
	}
	return s.names.Resolve(ctx, host)
}

func (s *scripted) change(n names, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names, s.err = n, err
}

func addrs(s *Set) string {
	var out []string
	for _, e := range s.Endpoints() {
		out = append(out, fmt.Sprintf("%s=%d", e.Addr, e.Weight))
	}
	return strings.Join(out, " ")
}

func TestFollowDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &scripted{names: names{"a.test": "10.0.0.1 10.0.0.2"}}
		r := NewRegistry(Options{Resolver: dns})
		s := open(t, r, Config{Key: "u", Port: 80, Nodes: resource.Nodes{node("a.test", 0, 3), node("127.0.0.1", 9, 1)}})
		if dns.calls.Load() != 0 {
			t.Error("looked up before the first use")
		}
		ready := func(want string) {
			t.Helper()
			if err := s.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			if got := addrs(s); got != want {
				t.Errorf("endpoints %s, want %s", got, want)
			}
		}
		ready("10.0.0.1:80=3 10.0.0.2:80=3 127.0.0.1:9=2") // a weight of 3 against 1, shared by two
		if e := s.Endpoints()[0]; e.Host != "a.test" || s.Nodes() != 2 {
			t.Errorf("host %s, %d nodes", e.Host, s.Nodes())
		}
		state := s.Endpoints()[1].State
		dns.change(names{"a.test": "10.0.0.2"}, nil)
		ready("10.0.0.1:80=3 10.0.0.2:80=3 127.0.0.1:9=2") // the answer holds for 10 s
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ready("10.0.0.2:80=3 127.0.0.1:9=1")
		if s.Endpoints()[0].State != state {
			t.Error("the state of an address that stayed was lost")
		}
		dns.change(nil, errors.New("server failure"))
		time.Sleep(11 * time.Second)
		ready("10.0.0.2:80=3 127.0.0.1:9=1") // stays
		dns.change(names{}, nil)
		time.Sleep(2 * time.Second)
		ready("127.0.0.1:9=1") // does not exist any more
		dns.change(names{"a.test": "10.0.0.3"}, nil)
		time.Sleep(2 * time.Second)
		ready("10.0.0.3:80=3 127.0.0.1:9=1")

		time.Sleep(time.Hour) // nobody uses it: no look-ups
		calls := dns.calls.Load()
		time.Sleep(time.Hour)
		if dns.calls.Load() != calls {
			t.Errorf("%d look-ups while idle", dns.calls.Load()-calls)
		}
		dns.change(names{"a.test": "10.0.0.4"}, nil)
		ready("10.0.0.4:80=3 127.0.0.1:9=1") // looked up anew before the first request
		s.Close()
		r.Close()
		if ups, states := r.Len(); ups+states != 0 {
			t.Errorf("%d upstreams, %d states", ups, states)
		}
	})
}

func TestFirstRequestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &scripted{names: names{"a.test": "10.0.0.1"}, gate: make(chan struct{})}
		r := NewRegistry(Options{Resolver: dns})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: resource.Nodes{node("a.test", 1, 1)}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Ready(ctx); !errors.Is(err, ErrNoNodes) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		done := make(chan error)
		for range 3 {
			go func() { done <- s.Ready(t.Context()) }()
		}
		synctest.Wait()
		close(dns.gate)
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if dns.calls.Load() != 1 {
			t.Errorf("%d look-ups", dns.calls.Load())
		}
	})
}

func TestNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{Resolver: names{}})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: resource.Nodes{node("a.test", 1, 1)}})
		err := s.Ready(t.Context())
		if !errors.Is(err, ErrNoNodes) || !strings.Contains(err.Error(), "a.test") || s.Pick(0, nil) != nil {
			t.Errorf("%v", err)
		}
		if err := open(t, r, Config{Key: "v", Nodes: resource.Nodes{node("a.test", 1, 1)}}).Ready(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

// A new version of the configuration while the name servers are down.
func TestNewVersionKeepsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &scripted{names: names{"a.test": "10.0.0.1"}}
		r := NewRegistry(Options{Resolver: dns})
		defer r.Close()
		conf := Config{Key: "u", Nodes: resource.Nodes{node("a.test", 1, 1)}}
		v1 := open(t, r, conf)
		if err := v1.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		dns.change(nil, errors.New("server failure"))
		conf.Nodes = append(conf.Nodes, node("b.test", 1, 1))
		v2 := open(t, r, conf)
		v1.Close()
		if err := v2.Ready(t.Context()); err != nil || addrs(v2) != "10.0.0.1:1=1" {
			t.Errorf("%v, %s", err, addrs(v2))
		}
	})
}

func TestFollowService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		changed := make(chan struct{})
		nodes, fault := nodes2, error(nil)
		find := func(context.Context) (Found, error) {
			mu.Lock()
			defer mu.Unlock()
			return Found{Nodes: nodes, Changed: changed}, fault
		}
		set := func(n resource.Nodes, err error) {
			mu.Lock()
			defer mu.Unlock()
			nodes, fault = n, err
			close(changed)
			changed = make(chan struct{})
		}
		r := NewRegistry(Options{})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Find: find})
		ready := func(want string) {
			t.Helper()
			err := s.Ready(t.Context())
			if got := addrs(s); got != want || (err == nil) != (want != "") {
				t.Errorf("endpoints %s, want %s; %v", got, want, err)
			}
		}
		ready("127.0.0.1:1=1 127.0.0.1:2=1")
		set(nodes3, nil)
		synctest.Wait()
		ready("127.0.0.1:1=1 127.0.0.1:2=1 127.0.0.1:3=1")
		set(nil, errors.New("registry is down"))
		synctest.Wait()
		ready("127.0.0.1:1=1 127.0.0.1:2=1 127.0.0.1:3=1")
		time.Sleep(time.Minute)
		ready("127.0.0.1:1=1 127.0.0.1:2=1 127.0.0.1:3=1")
		set(nil, nil)
		time.Sleep(2 * time.Second)
		ready("") // the service has no instance
	})
}

// Health checks follow the addresses.
func TestHealthOfDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &scripted{names: names{"a.test": "10.0.0.1 10.0.0.2"}}
		f := &fakes{}
		f.set("10.0.0.2:1", 500, nil)
		r := NewRegistry(Options{Resolver: dns, Probe: f.probe})
		defer r.Close()
		s := open(t, r, Config{Key: "u", Nodes: resource.Nodes{node("a.test", 1, 1)}, Checks: checks(t, active)})
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2200 * time.Millisecond)
		expect(t, r, "1 healthy 0/0/0/0, 1 unhealthy 0/2/0/0")
		for range 4 {
			if e := s.Pick(0, nil); e.Addr != "10.0.0.1:1" {
				t.Errorf("picked %s", e.Addr)
			}
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		dns.change(names{"a.test": "10.0.0.2 10.0.0.3"}, nil)
		time.Sleep(10 * time.Second)
		expect(t, r, "1 unhealthy 0/2/0/0, 1 healthy 0/0/0/0")
	})
}
