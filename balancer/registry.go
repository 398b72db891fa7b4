package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sluice/configcenter/resource"
)

// ErrNoNodes is what a set without endpoints answers.
var ErrNoNodes = errors.New("no valid upstream node")

// Options are what a Registry needs from outside.
type Options struct {
	Resolver Resolver // for nodes that are domain names; nil: such nodes are left out
	Probe    Probe    // for active health checks; nil: none run
	Log      *slog.Logger
	NoHealth bool // switches all health checks off

	// Start gives the position at which a new round robin begins; nil: random,
	// so that many gateways do not all begin with the same node.
	Start func() uint64
}

// Registry keeps the state of all endpoints and the health checkers of all
// upstreams, by upstream key, for as long as a Set refers to them. It starts
// goroutines (checkers, followers) only for sets in use; Close ends them all.
type Registry struct {
	opt    Options
	ctx    context.Context
	cancel context.CancelFunc

	life   sync.Mutex // guards closed and wg against each other
	closed bool
	wg     sync.WaitGroup // checkers and followers

	mu  sync.Mutex // guards ups, all that hangs on them, and Set.view changes
	ups map[string]*upstream

	dead []*any // slots of forgotten states, to be closed by unlock
}

// upstream is what outlives the versions of one upstream.
type upstream struct {
	key     string
	sets    []*Set // open, the newest last; it decides about the checks
	states  stateTable
	turns   []turn        // round robin positions
	flips   atomic.Uint64 // counts changes between up and down
	checker *checker      // nil until a set with checks is used
}

func (u *upstream) newest() *Set {
	if len(u.sets) == 0 {
		return nil
	}
	return u.sets[len(u.sets)-1]
}

// turn is the round robin position of a priority.
type turn struct {
	priority int
	at       *atomic.Uint64
}

// Config describes one version of one upstream.
type Config struct {
	// Key is the identity of the upstream across versions, for example
	// "/apisix/upstreams/1". Sets of one key share state and health; where they
	// differ, the newest one decides what is checked and how.
	Key string

	// Identity is whatever else must be equal for connections to be shared
	// (scheme, server name, client certificate). A change of it gives
	// endpoints a new State, with a new Slot.
	Identity string

	Kind      string // algorithm; roundrobin when empty
	Nodes     resource.Nodes
	Find      func(context.Context) (Found, error) // service discovery; used instead of Nodes
	Port      int                                  // for nodes without a port
	Checks    *resource.Checks
	ProbeHost string // Host of active probes, before the node's own name; may be empty
	Stream    bool   // TCP or UDP: a session that ends other than with 200 is a TCP failure
}

// NewRegistry returns an empty registry.
func NewRegistry(o Options) *Registry {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Start == nil {
		o.Start = func() uint64 { return rand.Uint64N(1 << 32) }
	}
	r := &Registry{opt: o, ups: map[string]*upstream{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends every checker and follower and waits for them. Sets may still be
// picked from; they no longer change.
func (r *Registry) Close() {
	r.life.Lock()
	r.closed = true
	r.life.Unlock()
	r.cancel()
	r.wg.Wait()
}

// spawn starts a goroutine that Close waits for; false after Close.
func (r *Registry) spawn(f func()) bool {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return false
	}
	r.wg.Go(f)
	return true
}

// Len is the number of upstreams and endpoint states alive, for leak tests.
func (r *Registry) Len() (upstreams, states int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.ups {
		states += len(u.states.all)
	}
	return len(r.ups), states
}

// Open returns the set of endpoints of one version of an upstream. Nothing is
// resolved, found or probed before the set is used. The caller closes it when
// the version has drained; open the next version first, so that state survives.
func (r *Registry) Open(c Config) (*Set, error) {
	if c.Kind == "" {
		c.Kind = "roundrobin"
	}
	if Kinds[c.Kind] == nil {
		return nil, fmt.Errorf("invalid balancer type: %s", c.Kind)
	}
	s := &Set{conf: c, reg: r}
	if c.Checks != nil && !r.opt.NoHealth {
		s.rules = newRules(c.Checks, c.Stream)
	}
	if c.Find != nil || hasDomain(c.Nodes) {
		s.dynamic, s.follower = true, new(follower)
	}
	r.mu.Lock()
	defer r.unlock()
	u := r.ups[c.Key]
	if u == nil {
		u = &upstream{key: c.Key}
		r.ups[c.Key] = u
	}
	s.up = u
	s.swap(expand(c.Nodes, nil, c.Port))
	if old := u.newest(); s.dynamic && c.Find == nil && old != nil && old.dynamic {
		s.adopt(old)
	}
	u.sets = append(u.sets, s)
	if u.checker != nil { // running for the version before: take over at once
		s.check()
	}
	return s, nil
}

// unlock gives r.mu back and closes what was forgotten while it was held:
// closing connections is not for a time when others wait.
func (r *Registry) unlock() {
	dead := r.dead
	r.dead = nil
	r.mu.Unlock()
	for _, p := range dead {
		closeSlot(p)
	}
}

// state returns the endpoint's state and counts a user of it. r.mu is held.
func (r *Registry) state(u *upstream, k stateKey) *State {
	st := u.states.get(k)
	if st == nil {
		st = &State{reg: r, up: u, key: k}
		u.states.add(st)
	}
	st.refs++
	st.gone.Store(false)
	return st
}

// unref gives back what state counted. r.mu is held.
func (r *Registry) unref(st *State) {
	if st.refs--; st.refs == 0 {
		st.gone.Store(true) // before the look at inflight: Done looks in the other order
		r.forget(st)
	}
}

// drop forgets a state whose last request has ended.
func (r *Registry) drop(st *State) {
	r.mu.Lock()
	defer r.unlock()
	r.forget(st)
}

// forget drops a state that nobody refers to and that has no request in flight,
// and its upstream with the last one. r.mu is held.
func (r *Registry) forget(st *State) {
	if st.refs > 0 || st.inflight.Load() > 0 || !st.up.states.remove(st) {
		return
	}
	if p := st.slot.Load(); p != nil {
		r.dead = append(r.dead, p)
	}
	r.reap(st.up)
}

func (r *Registry) reap(u *upstream) {
	if len(u.sets) == 0 && len(u.states.all) == 0 && r.ups[u.key] == u {
		delete(r.ups, u.key)
	}
}

// turn is the round robin position of a priority. r.mu is held.
func (r *Registry) turn(u *upstream, priority int) *atomic.Uint64 {
	for _, t := range u.turns {
		if t.priority == priority {
			return t.at
		}
	}
	t := turn{priority, new(atomic.Uint64)}
	t.at.Store(r.opt.Start())
	u.turns = append(u.turns, t)
	return t.at
}

// Health is the state of one upstream's checker, in the form of the control API.
type Health struct {
	Name  string       `json:"name"`
	Type  string       `json:"type"`
	Nodes []NodeHealth `json:"nodes"`
}

// NodeHealth is the state of one checked server.
type NodeHealth struct {
	IP       string   `json:"ip"`
	Port     int      `json:"port"`
	Hostname string   `json:"hostname"`
	Status   string   `json:"status"`
	Counter  Counters `json:"counter"`
}

// Counters count results in a row. A failure resets the successes, a success
// resets all failures.
type Counters struct {
	Success        int `json:"success"`
	HTTPFailure    int `json:"http_failure"`
	TCPFailure     int `json:"tcp_failure"`
	TimeoutFailure int `json:"timeout_failure"`
}

// AllHealth returns the state of every checker, sorted by name.
func (r *Registry) AllHealth() []Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Health
	for _, u := range r.ups {
		if u.checker != nil {
			all = append(all, u.checker.snapshot())
		}
	}
	slices.SortFunc(all, func(a, b Health) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Health returns the state of an upstream's checker; false: it has none (yet).
func (r *Registry) Health(key string) (Health, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.ups[key]; u != nil && u.checker != nil {
		return u.checker.snapshot(), true
	}
	return Health{}, false
}
