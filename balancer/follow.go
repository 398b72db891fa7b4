package balancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice/configcenter/resource"
)

// ErrNotFound is wrapped by the error of a Resolver that was told that a name
// does not exist or has no address. After any other error the addresses last
// known stay in use.
var ErrNotFound = errors.New("name not found")

// Resolver finds the addresses of domain names, in an order that does not
// change while the addresses are the same. It says until when the answer may be
// used before asking again, also with an error.
type Resolver interface {
	Resolve(ctx context.Context, host string) (addrs []netip.Addr, until time.Time, err error)
}

// Found is what service discovery knows of a service at a moment.
type Found struct {
	Nodes   resource.Nodes
	Until   time.Time       // when to ask again; zero: only when Changed is closed
	Changed <-chan struct{} // closed when the nodes may have changed; may be nil
}

const (
	retryAfter = time.Second     // after a look-up that failed
	soonest    = time.Second     // between two look-ups, however short their time to live
	latest     = 5 * time.Minute // to notice that nobody uses the set any more
	patience   = time.Minute     // for one name, or for the service

	resolveAtOnce = 16 // names of one set that are looked up at the same time
)

var errNoResolver = errors.New("no resolver")

// follower keeps a set's endpoints equal to what its domain names and its
// service stand for. One goroutine does so while the set is used; it ends when
// nobody asked since its last look, and the next Ready starts it again.
type follower struct {
	ready atomic.Bool            // it runs and has looked once
	fault atomic.Pointer[string] // why the last look found nothing; nil: it worked

	fmu    sync.Mutex         // guards what follows; taken after Registry.mu, if both
	first  chan struct{}      // closed after the first look; nil: not running
	cancel context.CancelFunc // ends the goroutine
	halted bool
	addrs  map[string][]netip.Addr // last known
}

// await makes sure that the follower runs and has looked once.
func (s *Set) await(ctx context.Context) error {
	if !s.used.Load() {
		s.use()
	}
	if !s.ready.Load() {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	if len(s.view.Load().eps) > 0 {
		return nil
	}
	if why := s.fault.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrNoNodes, *why)
	}
	return ErrNoNodes
}

// begin starts the follower unless it runs, and waits for its first look.
func (s *Set) begin(ctx context.Context) error {
	s.fmu.Lock()
	if s.first == nil && !s.halted {
		var run context.Context
		run, s.cancel = context.WithCancel(s.reg.ctx)
		first := make(chan struct{})
		if s.reg.spawn(func() { s.follow(run, first) }) {
			s.first = first
		}
	}
	first := s.first
	s.fmu.Unlock()
	if first == nil {
		return nil // halted: what is known has to do
	}
	select {
	case <-first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoNodes, context.Cause(ctx))
	}
}

// halt ends the follower for good.
func (s *Set) halt() {
	if !s.dynamic {
		return
	}
	s.fmu.Lock()
	defer s.fmu.Unlock()
	s.halted = true
	if s.cancel != nil {
		s.cancel()
	}
}

// adopt starts from the addresses that the version before knew, so that a
// change of configuration while name servers are down loses nothing. reg.mu is held.
func (s *Set) adopt(old *Set) {
	old.fmu.Lock()
	s.addrs = maps.Clone(old.addrs)
	old.fmu.Unlock()
	s.swap(expand(s.conf.Nodes, s.addrs, s.conf.Port))
}

func (s *Set) follow(ctx context.Context, first chan struct{}) {
	for looked := false; ; looked = true {
		wait, changed := s.look(ctx)
		if !looked {
			s.ready.Store(true)
			close(first)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || s.idle() {
			return
		}
	}
}

// idle ends the run when nobody has used the set since the last look.
func (s *Set) idle() bool {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	if s.used.Swap(false) {
		return false
	}
	s.ready.Store(false)
	s.first = nil
	s.cancel()
	s.cancel = nil
	return true
}

// look looks all nodes up once and puts the endpoints in place if they changed.
// It returns how long to wait before the next look, and what ends the wait early.
func (s *Set) look(ctx context.Context) (wait time.Duration, changed <-chan struct{}) {
	now := time.Now()
	found := Found{Nodes: s.conf.Nodes}
	if s.conf.Find != nil {
		timed, cancel := context.WithTimeout(ctx, patience)
		var err error
		found, err = s.conf.Find(timed)
		cancel()
		if err != nil {
			if errors.Is(err, ErrNotFound) { // else the last known nodes stay
				s.place(ctx, expand(nil, nil, 0), nil)
			}
			s.report(ctx, err)
			return retryAfter, nil
		}
	}
	until := found.Until
	if until.IsZero() {
		until = now.Add(latest)
	}
	addrs, fresh, err := s.resolve(ctx, found.Nodes)
	if fresh.Before(until) {
		until = fresh
	}
	s.place(ctx, expand(found.Nodes, addrs, s.conf.Port), addrs)
	s.report(ctx, err)
	return min(max(until.Sub(now), soonest), latest), found.Changed
}

func (s *Set) report(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		s.fault.Store(nil)
		return
	}
	why := err.Error()
	if last := s.fault.Swap(&why); last == nil || *last != why {
		s.reg.opt.Log.Error("upstream nodes cannot be looked up", "upstream", s.up.key, "err", err)
	}
}

// place swaps the endpoints in, unless the look was given up.
func (s *Set) place(ctx context.Context, f found, addrs map[string][]netip.Addr) {
	if ctx.Err() != nil {
		return
	}
	s.fmu.Lock()
	s.addrs = addrs
	s.fmu.Unlock()
	r := s.reg
	r.mu.Lock()
	defer r.unlock()
	if s.closed || sameEndpoints(s.view.Load().eps, f.eps) {
		return
	}
	s.swap(f)
	if s.up.newest() == s && s.up.checker != nil {
		s.check()
	}
}

// resolve finds the addresses of every domain among the nodes, some at a time.
// A domain that fails keeps the addresses last known. until is when the first
// answer ceases to hold.
func (s *Set) resolve(ctx context.Context, nodes resource.Nodes) (addrs map[string][]netip.Addr, until time.Time, err error) {
	until = time.Now().Add(latest)
	s.fmu.Lock()
	known := s.addrs
	s.fmu.Unlock()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		turn = make(chan struct{}, resolveAtOnce)
		seen = map[string]bool{}
	)
	addrs = map[string][]netip.Addr{}
	for _, n := range nodes {
		if _, ok := literal(n.Host); ok || seen[n.Host] {
			continue
		}
		seen[n.Host] = true
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			list, fresh, e := s.lookup(ctx, n.Host)
			mu.Lock()
			defer mu.Unlock()
			if e != nil {
				err = fmt.Errorf("dns resolver domain: %s error: %w", n.Host, e)
				fresh = time.Now().Add(retryAfter)
				if list = nil; !errors.Is(e, ErrNotFound) {
					list = known[n.Host]
				}
			}
			if addrs[n.Host] = list; fresh.Before(until) {
				until = fresh
			}
		})
	}
	wg.Wait()
	return addrs, until, err
}

func (s *Set) lookup(ctx context.Context, host string) ([]netip.Addr, time.Time, error) {
	if s.reg.opt.Resolver == nil {
		return nil, time.Time{}, errNoResolver
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.reg.opt.Resolver.Resolve(ctx, host)
}
