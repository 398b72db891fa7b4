// Package balancer chooses which server of an upstream a request goes to. It
// has the choosing algorithms (Kinds), a registry that keeps what is known of a
// server across versions of the configuration (requests in flight, smoothed
// latency, health), health checks, and sets of servers that follow domain names
// and service discovery.
//
// It does not know HTTP, connections, plugins or where configuration comes
// from: a probe is a function handed in, and so are the resolver of domain
// names and the finder of services.
package balancer

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"
)

// Endpoint is one resolved server as one version of an upstream sees it. Its
// fields never change; what outlives versions is in State.
type Endpoint struct {
	Addr     string          // ip:port to connect to; IPv6 in brackets
	Host     string          // the node's host as configured: a domain or an ip
	Port     int             // the port of Addr
	Weight   int             // share of the traffic; 0 gets none
	Priority int             // higher is used first
	Meta     json.RawMessage // the node's metadata, as configured

	// State is shared by all versions of the endpoint. A picker gives an
	// endpoint without one a State of its own.
	*State

	ring   string // what chash hashes instead of Addr, when not empty
	smooth bool   // latency is recorded, for ewma
}

// State is what is known of an endpoint, whatever the version. The zero value
// is ready; safe for concurrent use.
type State struct {
	inflight atomic.Int64
	_        [120]byte // every request writes to the one above and reads those below
	lat      latency
	target   atomic.Pointer[target] // nil: not health checked
	slot     atomic.Pointer[any]
	gone     atomic.Bool // no set refers to it any more

	reg *Registry // that forgets the state when it is gone and idle; nil: none does
	up  *upstream
	key stateKey
	// Guarded by the registry's lock: the open views using the state, and its
	// place in up.states.all.
	refs, place int
}

// Fault says how a try failed below HTTP.
type Fault uint8

// The ways a try can fail. None means that a response arrived.
const (
	None    Fault = iota
	Timeout       // connecting, sending or waiting for the response took too long
	Broken        // refused, reset or closed before a response header
)

// Outcome is how one try at an endpoint ended.
type Outcome struct {
	Fault   Fault
	Final   bool          // no further try follows: Status is what the client got
	Status  int           // status of the response; read only when Final
	Latency time.Duration // connect and response time together
}

// Begin counts a request to the endpoint until Done.
func (e *Endpoint) Begin() { e.inflight.Add(1) }

// Done ends what Begin began: it feeds the smoothed latency and the passive
// health checks.
func (e *Endpoint) Done(o Outcome) {
	if e.smooth && o.Fault == None {
		e.lat.add(o.Latency)
	}
	if t := e.target.Load(); t != nil {
		t.observe(o)
	}
	if e.inflight.Add(-1) == 0 && e.gone.Load() && e.reg != nil {
		e.reg.drop(e.State)
	}
}

// Active is the number of requests between Begin and Done.
func (s *State) Active() int { return int(s.inflight.Load()) }

// Up reports whether the endpoint counts as healthy. Without health checks it does.
func (s *State) Up() bool {
	t := s.target.Load()
	return t == nil || t.up()
}

// Slot returns the value that the owner of connections keeps with the endpoint,
// made by mk on first use; when two callers race, the second value is thrown
// away. A value that is an io.Closer is closed when it is thrown away and when
// the endpoint is forgotten, which is after its last request.
func (s *State) Slot(mk func() any) any {
	if p := s.slot.Load(); p != nil {
		return *p
	}
	v := mk()
	if s.slot.CompareAndSwap(nil, &v) {
		return v
	}
	closeSlot(&v)
	return *s.slot.Load()
}

func closeSlot(p *any) {
	if c, ok := (*p).(io.Closer); ok {
		_ = c.Close() // nobody is left to tell
	}
}

// Picker chooses among an immutable set of endpoints. It is safe for concurrent
// use and allocates nothing.
type Picker interface {
	// Pick returns the next endpoint to try for key (see HashKey; only chash
	// looks at it), or nil when none is left. It never returns one that is in tried.
	Pick(key uint64, tried []*Endpoint) *Endpoint
}

// Kinds are the algorithms by their name in the configuration. They look
// neither at priority (New does) nor at health (Set does).
var Kinds = map[string]func([]*Endpoint) Picker{
	"roundrobin": func(eps []*Endpoint) Picker { return NewRoundRobin(eps, 0) },
	"chash":      func(eps []*Endpoint) Picker { return &chash{ring: newRing(own(eps))} },
	"least_conn": func(eps []*Endpoint) Picker { return newLeastConn(own(eps)) },
	"ewma":       func(eps []*Endpoint) Picker { return newEWMA(own(eps)) },
}

// New returns a picker of a kind over endpoints of any priority: the highest
// priority first, the next one when all of it were tried.
func New(kind string, eps []*Endpoint) (Picker, error) {
	mk := Kinds[kind]
	if mk == nil {
		return nil, fmt.Errorf("invalid balancer type: %s", kind)
	}
	var p priority
	for _, g := range byPriority(eps) {
		p = append(p, mk(g))
	}
	return p.picker(), nil
}

// HashKey is the hash that chash puts keys and servers on its ring with.
func HashKey(s string) uint64 {
	// The checksum only reads, and a conversion would copy long keys to the heap.
	return uint64(crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s))))
}

// own gives every endpoint without a State one of its own.
func own(eps []*Endpoint) []*Endpoint {
	for _, e := range eps {
		if e.State == nil {
			e.State = new(State)
		}
	}
	return eps
}

// in reports whether e was tried. Endpoints of two versions are the same server
// when they share their state.
func in(tried []*Endpoint, e *Endpoint) bool {
	for _, t := range tried {
		if t == e || t.State == e.State && t.State != nil {
			return true
		}
	}
	return false
}

// byPriority groups endpoints, highest priority first, each group in the given order.
func byPriority(eps []*Endpoint) [][]*Endpoint {
	groups := map[int][]*Endpoint{}
	for _, e := range eps {
		groups[e.Priority] = append(groups[e.Priority], e)
	}
	var out [][]*Endpoint
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(groups))) {
		out = append(out, groups[p])
	}
	return out
}

// priority tries its pickers in order.
type priority []Picker

func (p priority) Pick(key uint64, tried []*Endpoint) *Endpoint {
	for _, g := range p {
		if e := g.Pick(key, tried); e != nil {
			return e
		}
	}
	return nil
}

// picker avoids the detour where there is only one group.
func (p priority) picker() Picker {
	if len(p) == 1 {
		return p[0]
	}
	return p
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
