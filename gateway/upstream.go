package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice/balancer"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/gateway/uri"
	"sluice/plugins"
)

// upstream is a compiled upstream.
type upstream struct {
	def      *resource.Upstream
	key      string // "/apisix/upstreams/1": identity across versions
	scheme   string
	passHost int
	hash     hashing
	set      *balancer.Set
	retries  int // −1: number of nodes − 1
	within   time.Duration
	cert     *tls.Certificate // toward TLS nodes; nil: none
	keep     Keepalive

	connect, send, read time.Duration
}

// Def implements plugins.Upstream.
func (u *upstream) Def() *resource.Upstream { return u.def }

// upstreamSlot is an upstream object as a plugin refers to it: whatever the
// version that serves the request has under that id. It implements plugins.Upstream.
type upstreamSlot struct {
	slot int
	id   string
	def  *resource.Upstream
}

// Def is the definition at the time the plugin was built; nil if there was none.
func (u *upstreamSlot) Def() *resource.Upstream { return u.def }

// tries is how many attempts a request gets, and how many nodes there are.
func (u *upstream) tries() (tries, nodes int) {
	nodes = len(u.set.Endpoints())
	if u.retries >= 0 {
		return u.retries + 1, nodes
	}
	return max(u.set.Nodes(), 1), nodes
}

// deadline is when no further try may begin; zero: never.
func (u *upstream) deadline(start time.Time) time.Time {
	if u.within <= 0 {
		return time.Time{}
	}
	return start.Add(u.within)
}

// upstreams compiles upstreams and hands out the slots of table.upstreams.
// Routes name a slot, not an upstream, so that a change of an upstream touches
// no route. Safe for concurrent use: trial builds reserve slots too.
type upstreams struct {
	o        *Options
	registry *balancer.Registry
	ssl      func(id string) (*tls.Certificate, error)

	mu    sync.Mutex     // guards what follows
	slots map[string]int // upstream id → slot
	users map[string]int // routes and plugins holding the slot
	free  []int
	size  int

	current []*upstream // of the newest table
}

func newUpstreams(o *Options) *upstreams {
	return &upstreams{o: o, slots: map[string]int{}, users: map[string]int{},
		registry: balancer.NewRegistry(balancer.Options{
			Resolver: o.Resolver, Probe: o.Probe, Log: o.Log, NoHealth: o.DisableHealth})}
}

// reserve returns the slot of the upstream called id, existing or not, and
// counts a user of it.
func (us *upstreams) reserve(id string) int {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.users[id]++
	return us.slot(id)
}

// slot is the slot of id, a new one if it has none. us.mu is held.
func (us *upstreams) slot(id string) int {
	if s, ok := us.slots[id]; ok {
		return s
	}
	s := us.size
	if n := len(us.free); n > 0 {
		s, us.free = us.free[n-1], us.free[:n-1]
	} else {
		us.size++
	}
	us.slots[id] = s
	return s
}

// giveBack ends what reserve began. The slot of a deleted upstream without
// users goes to the next new one.
func (us *upstreams) giveBack(id string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	if us.users[id]--; us.users[id] > 0 {
		return
	}
	delete(us.users, id)
	if s := us.slots[id]; s >= len(us.current) || us.current[s] == nil {
		delete(us.slots, id)
		us.free = append(us.free, s)
	}
}

// update compiles the dirty upstream objects and returns the slots of the new
// version. One that does not compile stays as it was.
func (us *upstreams) update(snap *configcenter.Snapshot, old []*upstream, dirty map[string]struct{}, fail func(resource.Kind, string, error)) []*upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	if len(dirty) == 0 && us.size == len(old) {
		us.current = old
		return old
	}
	next := slices.Clone(old)
	for _, id := range slices.Sorted(maps.Keys(dirty)) {
		item := snap.Get(resource.Upstreams, id)
		if item == nil {
			next = us.drop(next, id)
			continue
		}
		u, err := us.compile("upstreams/"+id, item.Value.(*resource.Upstream))
		if err != nil {
			fail(resource.Upstreams, id, err)
			continue
		}
		s := us.slot(id)
		next = grow(next, s+1)
		if next[s] != nil {
			us.retire(next[s])
		}
		next[s] = u
	}
	us.current = grow(next, us.size)
	return us.current
}

func (us *upstreams) drop(next []*upstream, id string) []*upstream {
	s, ok := us.slots[id]
	if !ok || s >= len(next) || next[s] == nil {
		return next
	}
	us.retire(next[s])
	next[s] = nil
	if us.users[id] == 0 {
		delete(us.slots, id)
		us.free = append(us.free, s)
	}
	return next
}

func grow(s []*upstream, n int) []*upstream {
	for len(s) < n {
		s = append(s, nil)
	}
	return s
}

// retire closes the upstream's set once the requests of the old version are done.
func (us *upstreams) retire(u *upstream) {
	time.AfterFunc(us.o.Grace, u.set.Close)
}

// forPlugin is Env.Upstream.
func (us *upstreams) forPlugin(owner, id string, inline *resource.Upstream) (plugins.Upstream, error) {
	if inline == nil {
		ref := &upstreamSlot{slot: us.reserve(id), id: id}
		us.mu.Lock()
		defer us.mu.Unlock()
		if s := ref.slot; s < len(us.current) && us.current[s] != nil {
			ref.def = us.current[s].def
		}
		return ref, nil
	}
	return us.compile(owner, inline)
}

// abandon ends what forPlugin gave.
func (us *upstreams) abandon(u plugins.Upstream) {
	switch u := u.(type) {
	case *upstreamSlot:
		us.giveBack(u.id)
	case *upstream:
		u.set.Close()
	}
}

// compile makes an upstream of its definition. owner is the object it stands in.
func (us *upstreams) compile(owner string, def *resource.Upstream) (*upstream, error) {
	u := &upstream{def: def, key: owner, scheme: def.Scheme, passHost: passHosts[def.PassHost],
		retries: -1, within: seconds(def.RetryTimeout), keep: us.o.Keepalive}
	if u.scheme == "" {
		u.scheme = "http"
	}
	if def.Retries != nil {
		u.retries = *def.Retries
	}
	t := defaultTimeout
	if def.Timeout != nil {
		t = *def.Timeout
	}
	u.connect, u.send, u.read = seconds(t.Connect), seconds(t.Send), seconds(t.Read)
	if p := def.KeepalivePool; p != nil {
		u.keep = Keepalive{Idle: p.Size, IdleTimeout: time.Minute, Requests: p.Requests}
		if p.Size == 0 {
			u.keep.Idle = 320
		}
		if p.Requests == 0 {
			u.keep.Requests = 1000
		}
		if p.IdleTimeout != nil {
			u.keep.IdleTimeout = seconds(*p.IdleTimeout)
		}
	}
	var err error
	if u.hash, err = hashOn(def); err != nil {
		return nil, err
	}
	if err := us.clientCert(u); err != nil {
		return nil, err
	}
	return u, us.open(u)
}

func (us *upstreams) clientCert(u *upstream) error {
	t := u.def.TLS
	switch {
	case t == nil:
	case t.ClientCertID != "":
		c, err := us.ssl(string(t.ClientCertID))
		if err != nil {
			return err
		}
		u.cert = c
	case t.ClientCert != "":
		c, err := tls.X509KeyPair([]byte(t.ClientCert), []byte(us.o.Keyring.KeyInClear(t.ClientKey)))
		if err != nil {
			return fmt.Errorf("tls.client_cert: %w", err)
		}
		u.cert = &c
	}
	return nil
}

// open gives the upstream its endpoints.
func (us *upstreams) open(u *upstream) error {
	c := balancer.Config{Key: u.key, Kind: u.def.Type, Nodes: u.def.Nodes, Port: uri.DefaultPort(u.scheme), Checks: u.def.Checks}
	if u.def.PassHost == "rewrite" {
		c.ProbeHost = u.def.UpstreamHost
	}
	if u.def.ServiceName != "" && u.def.DiscoveryType != "" {
		find := us.o.Discovery[u.def.DiscoveryType]
		if find == nil { // found out at each request, which gets 503
			find = func(context.Context, *resource.Upstream) (balancer.Found, error) {
				return balancer.Found{}, fmt.Errorf("discovery %s is uninitialized", u.def.DiscoveryType)
			}
		}
		c.Find = func(ctx context.Context) (balancer.Found, error) { return find(ctx, u.def) }
	}
	var err error
	u.set, err = us.registry.Open(c)
	return err
}
