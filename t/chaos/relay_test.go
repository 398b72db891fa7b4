package chaos

import (
	"testing"
	"time"
)

// TestRelay kills and replaces relays between gateways and their store.
func TestRelay(t *testing.T) {
	t.Parallel()
	e := nodes(t, 1)[0]
	e.start()
	s := openStore(t, nil, e)
	s.seed(upstream(t))
	one, two := newRelay(t, e), newRelay(t, e)
	endpoints := []string{"http://" + one.addr, "http://" + two.addr}
	f := newFleet(t, s, newGateway(t, "one", endpoints, "", ""), newGateway(t, "two", endpoints, "", ""), newGateway(t, "three", endpoints, "", ""))
	for name, r := range map[string]*relay{"first": one, "second": two} {
		f.fault("the "+name+" relay killed", func() int64 {
			w := s.write(100)
			r.p.kill()
			last(either(time.Second, 10*time.Second))
			n := w.end()
			f.converge("without the " + name + " relay")
			r.start()
			return n
		})
	}
	f.fault("both relays killed and replaced", func() int64 {
		one.p.kill()
		two.p.kill()
		f.await("the loss", func(s state) bool { return !s.Reachable })
		w := s.write(200)
		last(either(500*time.Millisecond, 5*time.Second))
		n := w.end()
		one.start()
		two.start()
		return n
	})
	f.fault("etcd restarted behind the relays", func() int64 {
		w := s.write(100)
		last(either(500*time.Millisecond, 2*time.Second))
		e.p.kill()
		e.start()
		last(either(500*time.Millisecond, 2*time.Second))
		return w.end()
	})
	f.memory()
}

type relay struct {
	t    testing.TB
	e    *node
	addr string
	p    *process
}

func newRelay(t testing.TB, e *node) *relay {
	r := &relay{t: t, e: e, addr: freeAddr(t)}
	r.start()
	return r
}

func (r *relay) start() {
	r.t.Helper()
	r.p = run(r.t, "relay", sluice(r.t), "etcd-relay", "--endpoints", "http://"+r.e.near.addr(), "--listen-addr", r.addr)
}
