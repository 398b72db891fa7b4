package balancer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Probe asks one server how it is. For HTTP kinds it returns the status of the
// answer, or 0 if the answer is not HTTP. An error means that there was no
// answer; one that is or wraps context.DeadlineExceeded, or says Timeout, counts
// as a timeout, any other as a TCP failure. The context ends with the timeout.
type Probe func(ctx context.Context, s ProbeSpec) (code int, err error)

// ProbeSpec is one active probe.
type ProbeSpec struct {
	Type   string // http, https or tcp
	Addr   string // ip:port
	Host   string // Host header and server name
	Method string
	Path   string
	Body   string
	Header []string // "Name: value"
	Verify bool     // the server's certificate, for https
}

// maxJitter is by how much probes of different upstreams spread.
const maxJitter = 100 * time.Millisecond

// checker judges the servers of one upstream, for all its versions. The
// registry makes it when the upstream is first used and stops it when no set
// refers to the upstream any more or the newest has no checks.
type checker struct {
	reg   *Registry
	key   string
	log   *slog.Logger
	flips *atomic.Uint64
	rules atomic.Pointer[rules]

	mu      sync.Mutex
	targets []*target // in the order of the nodes
	cancel  context.CancelFunc
}

func newChecker(r *Registry, u *upstream) *checker {
	return &checker{reg: r, key: u.key, log: r.opt.Log, flips: &u.flips}
}

// sync takes over the rules and endpoints of the newest version. A server that
// stays keeps its status and counters. The registry's lock is held.
func (c *checker) sync(r *rules, eps []*Endpoint, probeHost string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.rules.Swap(r)
	type id struct {
		ip, host string
		port     int
	}
	known := map[id]*target{}
	for _, t := range c.targets {
		known[id{t.ip, t.host, t.port}] = t
	}
	c.targets = nil
	placed := map[*target]bool{}
	for _, e := range eps {
		ip := e.Addr[:len(e.Addr)-len(strconv.Itoa(e.Port))-1]
		k := id{ip, ip, e.Port}
		if a := r.conf.Active; a != nil {
			if a.Host != "" {
				k.host = a.Host
			}
			if a.Port != 0 {
				k.port = a.Port
			}
		}
		t := known[k]
		if t == nil {
			t = &target{c: c, ip: k.ip, host: k.host, port: k.port}
			known[k] = t
		}
		if !placed[t] {
			placed[t] = true
			t.spec = r.probe(ip+":"+strconv.Itoa(k.port), hostOf(e, k.host, probeHost))
			c.targets = append(c.targets, t)
		}
		if was := e.target.Swap(t); was != nil && was.up() != t.up() {
			c.flips.Add(1)
		}
	}
	if old == nil || !reflect.DeepEqual(old.conf, r.conf) {
		c.restart(r)
	}
}

// hostOf is the name that a probe asks for: the upstream's host when requests
// are rewritten to it, else the node's domain, else the host of the check, else
// the address.
func hostOf(e *Endpoint, checked, probeHost string) string {
	if probeHost != "" {
		return probeHost
	}
	if _, ok := literal(e.Host); !ok {
		return e.Host
	}
	return checked
}

func (r *rules) probe(addr, host string) ProbeSpec {
	p := ProbeSpec{Type: r.kind, Addr: addr, Host: host, Method: "GET", Path: "/", Verify: true}
	if a := r.conf.Active; a != nil {
		if a.HTTPMethod != "" {
			p.Method = a.HTTPMethod
		}
		if a.HTTPPath != "" {
			p.Path = a.HTTPPath
		}
		p.Body, p.Header = a.HTTPReqBody, a.ReqHeaders
		if v := a.HTTPSVerifyCertificate; v != nil {
			p.Verify = *v
		}
	}
	return p
}

// stop ends the probing. Probes under way are given up.
func (c *checker) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
}

// restart begins the probing anew, by the rules. c.mu is held.
func (c *checker) restart(r *rules) {
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
	if c.reg.opt.Probe == nil || r.up == 0 && r.down == 0 {
		return
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(c.reg.ctx)
	for _, loop := range []struct {
		every int
		up    bool
	}{{r.up, true}, {r.down, false}} {
		if loop.every > 0 {
			c.reg.spawn(func() { c.run(ctx, r, time.Duration(loop.every)*time.Second, loop.up) })
		}
	}
}

// run probes the targets that are up, or those that are down, at an interval;
// the first time after one interval.
func (c *checker) run(ctx context.Context, r *rules, every time.Duration, up bool) {
	timer := time.NewTimer(every + rand.N(min(maxJitter, every/10)))
	defer timer.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, r.atOnce) // a round may begin before the last one is over
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(every)
			c.round(ctx, &wg, slots, r, up)
		}
	}
}

// round starts one probe of every target that is up, or down, and has none
// under way. It does not wait for them.
func (c *checker) round(ctx context.Context, wg *sync.WaitGroup, slots chan struct{}, r *rules, up bool) {
	c.mu.Lock()
	type work struct {
		t    *target
		spec ProbeSpec
	}
	var list []work
	for _, t := range c.targets {
		if t.up() == up && t.busy.CompareAndSwap(false, true) {
			list = append(list, work{t, t.spec})
		}
	}
	c.mu.Unlock()
	var next atomic.Int64
	for range min(r.atOnce, len(list)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(list)); i = next.Add(1) - 1 {
				slots <- struct{}{}
				c.probe(ctx, r, list[i].t, list[i].spec)
				<-slots
			}
		})
	}
}

func (c *checker) probe(ctx context.Context, r *rules, t *target, s ProbeSpec) {
	defer t.busy.Store(false)
	timed, cancel := context.WithTimeout(ctx, time.Duration(r.timeout*float64(time.Second)))
	defer cancel()
	code, err := c.reg.opt.Probe(timed, s)
	switch {
	case ctx.Err() != nil:
	case err == nil && s.Type == "tcp":
		t.count(success, r.active.successes)
	case err == nil:
		t.judge(&r.active, code)
	case isTimeout(err):
		t.count(timeoutFailure, r.active.timeout)
	default:
		t.count(tcpFailure, r.active.tcp)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &n) && n.Timeout()
}

func (c *checker) snapshot() Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := Health{Name: c.key, Type: c.rules.Load().kind, Nodes: []NodeHealth{}}
	for _, t := range c.targets {
		t.mu.Lock()
		n := NodeHealth{
			IP: t.ip, Port: t.port, Hostname: t.host, Status: statusNames[t.status.Load()],
			Counter: Counters{t.counts[success], t.counts[httpFailure], t.counts[tcpFailure], t.counts[timeoutFailure]},
		}
		t.mu.Unlock()
		h.Nodes = append(h.Nodes, n)
	}
	return h
}
