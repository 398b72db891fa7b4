package balancer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"sluice/configcenter/resource"
)

// Set is the endpoints of one version of an upstream. It is a Picker over the
// algorithm, the priorities and the health of its upstream, and follows the
// domain names and the service behind its nodes. Safe for concurrent use.
type Set struct {
	conf    Config
	reg     *Registry
	up      *upstream
	rules   *rules // nil: no health checks
	dynamic bool   // nodes have to be looked up

	view      atomic.Pointer[view]
	used      atomic.Bool // since the follower last looked
	*follower             // nil unless dynamic
	closed    bool        // guarded by reg.mu
}

// view is what a set looks like between two changes of its nodes.
type view struct {
	eps    []*Endpoint
	single *Endpoint // the only one: there is nothing to choose, and nothing below is set
	nodes  int
	*choice
}

// choice is what a view chooses by.
type choice struct {
	groups []group    // by falling priority
	health sync.Mutex // held while usable is rebuilt
	usable atomic.Pointer[usable]
}

// usable is the picker over the endpoints that are up.
type usable struct {
	flips uint64 // upstream.flips for which it holds
	Picker
}

// group is the endpoints of one priority.
type group struct {
	eps  []*Endpoint
	ring *ring          // chash only
	turn *atomic.Uint64 // roundrobin only
}

// Pick returns the next endpoint to try. When every endpoint is down, health is
// not looked at. An upstream of a single node returns that node whatever its
// weight and health and however often it was tried.
func (s *Set) Pick(key uint64, tried []*Endpoint) *Endpoint {
	if !s.used.Load() {
		s.use()
	}
	v := s.view.Load()
	if v.single != nil {
		return v.single
	}
	u := v.usable.Load()
	if f := s.up.flips.Load(); u.flips != f {
		u = v.refresh(s, f)
	}
	return u.Pick(key, tried)
}

// Endpoints are all endpoints at this moment. The slice must not be changed.
func (s *Set) Endpoints() []*Endpoint { return s.view.Load().eps }

// Nodes is the number of nodes that have at least one endpoint: what the
// default number of retries is counted from.
func (s *Set) Nodes() int { return s.view.Load().nodes }

// Hashed reports whether Pick looks at its key.
func (s *Set) Hashed() bool { return s.conf.Kind == "chash" }

// Portless reports whether a node has no port of its own, and so the port
// depends on the scheme.
func (s *Set) Portless() bool {
	return slices.ContainsFunc(s.conf.Nodes, func(n resource.Node) bool { return n.Port == 0 })
}

// Ready waits until the nodes of a set that is used for the first time, or
// again after a while, are looked up. It returns at once for nodes that need no
// looking up. The error is ErrNoNodes when there is no endpoint, or wraps it
// with the reason.
func (s *Set) Ready(ctx context.Context) error {
	if s.dynamic {
		return s.await(ctx)
	}
	if len(s.view.Load().eps) == 0 {
		return ErrNoNodes
	}
	return nil
}

// Close gives the set's endpoints back. Requests under way may go on with them.
func (s *Set) Close() {
	s.halt()
	r := s.reg
	r.mu.Lock()
	defer r.unlock()
	if s.closed {
		return
	}
	s.closed = true
	u := s.up
	u.sets = slices.DeleteFunc(u.sets, func(o *Set) bool { return o == s })
	switch next := u.newest(); {
	case next == nil:
		if u.checker != nil {
			u.uncheck()
		}
	case u.checker != nil, next.rules != nil && next.used.Load():
		next.check()
	}
	for _, e := range s.view.Load().eps {
		r.unref(e.State)
	}
	r.reap(u)
}

// use marks the set as used; the first use starts the health checks.
func (s *Set) use() {
	s.used.Store(true)
	if s.rules == nil {
		return
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if s.up.checker == nil && s.up.newest() == s {
		s.check()
	}
}

// check starts the upstream's checker or hands it this set's rules and
// endpoints; without rules it ends it. s is the newest set; reg.mu is held.
func (s *Set) check() {
	u := s.up
	if s.rules == nil {
		u.uncheck()
		return
	}
	if u.checker == nil {
		u.checker = newChecker(s.reg, u)
	}
	u.checker.sync(s.rules, s.view.Load().eps, s.conf.ProbeHost)
}

// uncheck ends the checker; without one every endpoint counts as up. reg.mu is held.
func (u *upstream) uncheck() {
	u.checker.stop()
	u.checker = nil
	for _, st := range u.states.all {
		st.target.Store(nil)
	}
	u.flips.Add(1)
}

// swap replaces the set's endpoints. reg.mu is held, or the set is not shared yet.
func (s *Set) swap(f found) {
	old := s.view.Load()
	v := &view{eps: f.eps, nodes: f.nodes}
	for _, e := range v.eps {
		e.State = s.reg.state(s.up, stateKey{s.conf.Identity, e.Addr, e.Host})
		e.smooth = s.conf.Kind == "ewma"
	}
	if len(v.eps) == 1 {
		v.single = v.eps[0]
	} else {
		s.choose(v)
	}
	s.view.Store(v)
	s.prune()
	if old != nil {
		for _, e := range old.eps {
			s.reg.unref(e.State)
		}
	}
}

// choose prepares the choice among the endpoints of v.
func (s *Set) choose(v *view) {
	v.choice = &choice{}
	for _, eps := range byPriority(v.eps) {
		g := group{eps: eps}
		switch s.conf.Kind {
		case "chash":
			g.ring = newRing(eps)
		case "roundrobin":
			g.turn = s.reg.turn(s.up, eps[0].Priority)
		}
		v.groups = append(v.groups, g)
	}
	v.rebuild(s, s.up.flips.Load())
}

// prune forgets the round robin positions of priorities that are gone.
func (s *Set) prune() {
	if s.conf.Kind != "roundrobin" {
		return
	}
	s.up.turns = slices.DeleteFunc(s.up.turns, func(t turn) bool {
		return !slices.ContainsFunc(s.view.Load().eps, func(e *Endpoint) bool { return e.Priority == t.priority })
	})
}

// refresh rebuilds the picker after an endpoint went up or down. Whoever comes
// while another request does so takes the picker before.
func (v *view) refresh(s *Set, flips uint64) *usable {
	if v.health.TryLock() {
		defer v.health.Unlock()
		v.rebuild(s, flips)
	}
	return v.usable.Load()
}

func (v *view) rebuild(s *Set, flips uint64) {
	down := func(e *Endpoint) bool { return !e.Up() }
	if len(v.eps) > 0 && !slices.ContainsFunc(v.eps, func(e *Endpoint) bool { return e.Up() }) {
		s.reg.opt.Log.Warn("all upstream nodes is unhealthy, use default", "upstream", s.up.key)
		down = func(*Endpoint) bool { return false }
	}
	var p priority
	for _, g := range v.groups {
		if q := g.picker(s.conf.Kind, down); q != nil {
			p = append(p, q)
		}
	}
	v.usable.Store(&usable{flips, p.picker()})
}

// picker is the picker over the group's endpoints that are not down; nil when
// there is none.
func (g *group) picker(kind string, down func(*Endpoint) bool) Picker {
	eps := g.eps
	if slices.ContainsFunc(eps, down) {
		eps = slices.DeleteFunc(slices.Clone(eps), down)
	}
	if len(eps) == 0 {
		return nil
	}
	switch kind {
	case "roundrobin":
		return newRoundRobin(eps, g.turn)
	case "chash": // the ring stays: only the keys of a server that is down move
		p := &chash{ring: g.ring}
		if len(eps) < len(g.eps) {
			for _, e := range g.eps {
				p.off = append(p.off, !slices.Contains(eps, e))
			}
		}
		return p
	}
	return Kinds[kind](eps)
}
