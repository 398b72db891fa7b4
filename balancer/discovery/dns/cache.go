package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"sluice/balancer"
)

var errClosed = errors.New("dns: resolver is closed")

// answer is what is known of a name. It is not changed once made.
type answer struct {
	addrs []netip.Addr // sorted
	srv   []*dns.SRV
	kind  uint16    // type of the records
	until time.Time // when to ask again
	turn  *atomic.Uint32
}

// entry is a name in memory. Its fields are guarded by Client.mu.
type entry struct {
	answer           // the last good one
	known  bool      // answer was set
	err    error     // of the last look-up
	retry  time.Time // with err: when to ask again
	flight *flight   // look-up under way
}

// flight is one look-up that any number of callers wait for.
type flight struct {
	done   chan struct{}
	answer answer
	err    error
}

// get returns what is known of a host, or finds it out. An answer that ran out
// less than grace ago is returned at once while a new one is fetched.
func (c *Client) get(ctx context.Context, host string, grace time.Duration) (answer, error) {
	if looksLiteral(host) {
		if ip, err := netip.ParseAddr(host); err == nil {
			return answer{addrs: []netip.Addr{ip}, until: c.now().Add(staleFor)}, nil
		}
	}
	host = strings.ToLower(host)
	if addrs := c.hosts[strings.TrimSuffix(host, ".")]; len(addrs) > 0 {
		return answer{addrs: addrs, until: c.now().Add(staleFor)}, nil
	}
	now := c.now()
	c.mu.RLock()
	e := c.cache[host]
	if e != nil {
		if a, err, ok := e.current(now); ok {
			c.mu.RUnlock()
			return a, err
		}
	}
	c.mu.RUnlock()
	f, old, usable := c.launch(host, now, grace)
	if usable {
		return old, nil
	}
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return answer{until: now.Add(brokenTTL)}, fmt.Errorf("dns %s: %w", host, context.Cause(ctx))
	}
}

// looksLiteral spares domain names the attempt, and its error, to be parsed as
// an address: no top-level domain ends in a digit.
func looksLiteral(host string) bool {
	return strings.IndexByte(host, ':') >= 0 || host != "" && host[len(host)-1] >= '0' && host[len(host)-1] <= '9'
}

// current is the entry's answer if there is no need to ask.
func (e *entry) current(now time.Time) (answer, error, bool) {
	switch {
	case e.err != nil && now.Before(e.retry):
		if e.stale(now) {
			a := e.answer
			a.until = e.retry
			return a, nil, true
		}
		return answer{until: e.retry}, e.err, true
	case e.err == nil && e.known && now.Before(e.until):
		return e.answer, nil, true
	}
	return answer{}, nil, false
}

// stale reports whether the last good answer may stand in for the failed look-up.
func (e *entry) stale(now time.Time) bool {
	return e.known && !errors.Is(e.err, balancer.ErrNotFound) && now.Before(e.until.Add(staleFor))
}

// launch joins or starts the look-up of a host. usable: old ran out less than
// grace ago, or no server answered since, and it will do for who does not wait.
func (c *Client) launch(host string, now time.Time, grace time.Duration) (f *flight, old answer, usable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		f = &flight{done: make(chan struct{}), err: errClosed}
		close(f.done)
		return f, old, false
	}
	e := c.cache[host]
	if e == nil {
		c.makeRoom(now)
		e = &entry{}
		c.cache[host] = e
	}
	if e.flight == nil {
		e.flight = &flight{done: make(chan struct{})}
		last := e.kind
		c.wg.Go(func() { c.fly(host, e, last) })
	}
	usable = grace > 0 && e.known && (e.err == nil && now.Before(e.until.Add(grace)) || e.err != nil && e.stale(now))
	return e.flight, e.answer, usable
}

// fly looks a host up and puts the result into its entry.
func (c *Client) fly(host string, e *entry, last uint16) {
	ctx, cancel := context.WithTimeout(c.ctx, c.conf.Timeout)
	a, err := answer{}, error(nil)
	select {
	case c.slots <- struct{}{}:
		a, err = c.ask(ctx, host, last)
		<-c.slots
	case <-ctx.Done():
		err = fmt.Errorf("dns %s: too many look-ups: %w", host, ctx.Err())
	}
	cancel()
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	f := e.flight
	e.flight, e.err = nil, err
	switch {
	case err == nil:
		a.turn = new(atomic.Uint32)
		if e.turn != nil {
			a.turn = e.turn
		}
		e.answer, e.known = a, true
		f.answer = a
	default:
		e.retry = a.until
		if e.retry.IsZero() {
			e.retry = now.Add(brokenTTL)
		}
		f.answer, f.err, _ = e.current(now)
		if f.err == nil {
			c.conf.Log.Warn("dns look-up failed, using the last answer", "host", host, "err", err)
		}
	}
	close(f.done)
}

// makeRoom drops a name when the memory is full: of a few at random one that
// ran out, or the one that will first. c.mu is held.
func (c *Client) makeRoom(now time.Time) {
	if len(c.cache) < c.conf.Max {
		return
	}
	victim, at, seen := "", time.Time{}, 0
	for host, e := range c.cache {
		if e.flight != nil {
			continue
		}
		until := e.until
		if e.err != nil {
			until = e.retry
		}
		if victim == "" || until.Before(at) {
			victim, at = host, until
		}
		if seen++; seen >= 8 {
			break
		}
	}
	delete(c.cache, victim)
}
