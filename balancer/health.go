package balancer

import (
	"sync"
	"sync/atomic"

	"sluice/configcenter/resource"
)

// status is how a checked server is. The words are those of the control API.
type status uint32

const (
	healthy         status = iota
	mostlyHealthy          // up, with failures counted
	mostlyUnhealthy        // down, with successes counted
	unhealthy
)

var statusNames = [...]string{"healthy", "mostly_healthy", "mostly_unhealthy", "unhealthy"}

func (s status) up() bool { return s <= mostlyHealthy }

// The counters of a target.
const (
	success = iota
	httpFailure
	tcpFailure
	timeoutFailure
)

// target is one address that a checker judges. Endpoints that are probed at the
// same place share one.
type target struct {
	c        *checker
	ip, host string // host: of the probe as configured, or the ip
	port     int
	spec     ProbeSpec // guarded by c.mu

	status atomic.Uint32
	busy   atomic.Bool // a probe is under way
	mu     sync.Mutex
	counts [4]int
}

func (t *target) up() bool { return status(t.status.Load()).up() }

// count adds one result to a counter. At its limit the target changes between
// up and down; a limit of 0 switches the counter off. A success resets the
// failures, a failure resets the successes.
func (t *target) count(counter, limit int) {
	goal := unhealthy
	if counter == success {
		goal = healthy
	}
	if limit == 0 || status(t.status.Load()) == goal {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was := status(t.status.Load())
	if was == goal {
		return
	}
	n := t.counts[counter] + 1
	if counter == success {
		t.counts = [4]int{}
	} else {
		t.counts[success] = 0
	}
	t.counts[counter] = n
	is := was
	switch {
	case n >= limit:
		is = goal
	case was == healthy:
		is = mostlyHealthy
	case was == unhealthy:
		is = mostlyUnhealthy
	}
	t.status.Store(uint32(is))
	if is.up() != was.up() {
		t.c.flips.Add(1)
		t.c.log.Warn("upstream node changed health", "upstream", t.c.key, "node", t.ip, "port", t.port,
			"host", t.host, "status", statusNames[is])
	}
}

// judge counts an HTTP status; 0 stands for an answer that is not HTTP.
func (t *target) judge(l *limits, code int) {
	switch {
	case l.good.has(code):
		t.count(success, l.successes)
	case code == 0 || l.bad.has(code):
		t.count(httpFailure, l.http)
	}
}

// observe is the passive check. A try that is followed by another counts by
// what went wrong, whether or not passive checks are configured; the last one
// counts by the status that the client got.
func (t *target) observe(o Outcome) {
	r := t.c.rules.Load()
	switch {
	case !o.Final && o.Fault == Timeout:
		t.count(timeoutFailure, r.passive.timeout)
	case !o.Final && o.Fault == Broken:
		t.count(tcpFailure, r.passive.tcp)
	case !o.Final:
	case r.stream:
		if r.observe && o.Status != 200 {
			t.count(tcpFailure, r.passive.tcp)
		}
	case r.observed.has(o.Status):
		t.judge(&r.passive, o.Status)
	}
}

// rules are one version's checks with all defaults filled in.
type rules struct {
	conf     *resource.Checks
	kind     string // http, https or tcp
	active   limits
	passive  limits
	observe  bool  // passive checks are configured
	observed codes // statuses that count when the client gets them
	stream   bool
	up, down int // seconds between probes of servers that are up, down; 0: none
	timeout  float64
	atOnce   int // probes under way at the same time
}

// limits say which results count, and how many make a change.
type limits struct {
	good, bad                     codes
	successes, http, tcp, timeout int
}

// codes is a set of HTTP statuses.
type codes [10]uint64

func newCodes(list ...int) (c codes) {
	for _, n := range list {
		if n > 0 && n < len(c)*64 {
			c[n/64] |= 1 << (n % 64)
		}
	}
	return c
}

func (c *codes) has(n int) bool { return n > 0 && n < len(c)*64 && c[n/64]&(1<<(n%64)) != 0 }

func (c codes) or(d codes) codes {
	for i := range c {
		c[i] |= d[i]
	}
	return c
}

// newRules fills in the defaults. An absent "healthy" or "unhealthy" object has
// no interval, so there is no probing in that state; a present one has 1 s.
func newRules(c *resource.Checks, stream bool) *rules {
	r := &rules{conf: c, stream: stream, kind: "http", timeout: 1, atOnce: 10}
	r.active = limits{newCodes(200, 302), newCodes(429, 404, 500, 501, 502, 503, 504, 505), 2, 5, 2, 3}
	r.passive = limits{
		newCodes(200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308),
		newCodes(429, 500, 503), 5, 5, 2, 7,
	}
	if a := c.Active; a != nil {
		if a.Type != "" {
			r.kind = a.Type
		}
		if a.Timeout > 0 {
			r.timeout = a.Timeout
		}
		if a.Concurrency > 0 {
			r.atOnce = a.Concurrency
		}
		r.active.set(a.Healthy, a.Unhealthy)
		if a.Healthy != nil {
			r.up = max(a.Healthy.Interval, 1)
		}
		if a.Unhealthy != nil {
			r.down = max(a.Unhealthy.Interval, 1)
		}
	}
	if p := c.Passive; p != nil {
		r.observe = true
		r.passive.set(p.Healthy, p.Unhealthy)
		if p.Healthy != nil {
			r.observed = r.observed.or(r.passive.good)
		}
		if p.Unhealthy != nil {
			r.observed = r.observed.or(r.passive.bad)
		}
	}
	return r
}

func (l *limits) set(h *resource.Healthy, u *resource.Unhealthy) {
	assign := func(to *int, from *int) {
		if from != nil {
			*to = *from
		}
	}
	if h != nil {
		if len(h.HTTPStatuses) > 0 {
			l.good = newCodes(h.HTTPStatuses...)
		}
		assign(&l.successes, h.Successes)
	}
	if u != nil {
		if len(u.HTTPStatuses) > 0 {
			l.bad = newCodes(u.HTTPStatuses...)
		}
		assign(&l.http, u.HTTPFailures)
		assign(&l.tcp, u.TCPFailures)
		assign(&l.timeout, u.Timeouts)
	}
}
