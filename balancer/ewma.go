package balancer

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// decay is the time after which a latency counts 1/e.
const decay = 10 * time.Second

// epoch is what latency ranks count time from.
var epoch = time.Now()

// latency is a mean of response times that decays exponentially. What is kept
// is ln(mean) + time/decay: all means decay at one pace, so this rank orders
// endpoints at any time without a clock.
type latency struct {
	bits    atomic.Uint64 // of the rank; 0: nothing recorded, which ranks lowest
	mu      sync.Mutex
	touched float64 // when, in units of decay since epoch
}

func (l *latency) rank() float64 {
	b := l.bits.Load()
	if b == 0 {
		return math.Inf(-1)
	}
	return math.Float64frombits(b)
}

// add records one response time. When another request is recording at this very
// moment, the sample is dropped.
func (l *latency) add(d time.Duration) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	now := float64(time.Since(epoch)) / float64(decay)
	mean := d.Seconds()
	if l.bits.Load() != 0 {
		weight := math.Exp(-max(now-l.touched, 0))
		mean = math.Exp(l.rank()-now) + mean*(1-weight)
	}
	l.touched = now
	l.bits.Store(math.Float64bits(math.Log(mean) + now))
}

// ewma takes two endpoints at random and picks the one of lower latency.
// Weights are not looked at.
type ewma struct{ eps []*Endpoint }

func newEWMA(eps []*Endpoint) *ewma {
	for _, e := range eps {
		if !e.smooth { // written once, before anyone else sees the endpoint
			e.smooth = true
		}
	}
	return &ewma{eps}
}

func (p *ewma) Pick(_ uint64, tried []*Endpoint) *Endpoint {
	n := len(p.eps)
	if len(tried) > 0 {
		n = 0
		for _, e := range p.eps {
			if !in(tried, e) {
				n++
			}
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return p.nth(0, tried)
	}
	r := rand.Uint64()
	i := int(r >> 32 * uint64(n) >> 32)
	j := int(r & math.MaxUint32 * uint64(n-1) >> 32)
	if j >= i {
		j++
	}
	a, b := p.nth(i, tried), p.nth(j, tried)
	if a.lat.rank() > b.lat.rank() {
		return b
	}
	return a
}

// nth is the n-th endpoint that was not tried.
func (p *ewma) nth(n int, tried []*Endpoint) *Endpoint {
	if len(tried) == 0 {
		return p.eps[n]
	}
	for _, e := range p.eps {
		if in(tried, e) {
			continue
		}
		if n == 0 {
			return e
		}
		n--
	}
	return nil
}
