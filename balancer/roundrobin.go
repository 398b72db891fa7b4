package balancer

import (
	"cmp"
	"slices"
	"sort"
	"sync/atomic"
)

// The weighted round robin of lua-resty-balancer goes over the nodes in passes.
// Each pass has a threshold, which starts at the greatest weight and falls by
// the weights' greatest common divisor; a pass yields the nodes whose weight
// reaches its threshold. So the sequence repeats after sum/gcd picks, and the
// pick at any position can be computed: no lock, one counter.

const (
	maxCycle   = 1 << 10 // up to this length the whole sequence is laid out
	maxMembers = 1 << 16 // nodes of all passes together that keep the configured order
)

// pass is a run of passes that yield the same nodes.
type pass struct {
	start uint64 // position of its first pick in the sequence
	eps   []*Endpoint
}

type roundRobin struct {
	cycle  uint64
	passes []pass
	tries  int            // picks that a retry takes before it stops counting
	next   *atomic.Uint64 // position of the next pick; outlives the picker in a Set
}

// NewRoundRobin returns a weighted round robin that begins at position start of
// its sequence, which begins with the first of the endpoints of greatest weight.
func NewRoundRobin(eps []*Endpoint, start uint64) Picker {
	next := new(atomic.Uint64)
	next.Store(start)
	return newRoundRobin(own(eps), next)
}

func newRoundRobin(all []*Endpoint, next *atomic.Uint64) *roundRobin {
	p := &roundRobin{next: next}
	eps := slices.DeleteFunc(slices.Clone(all), func(e *Endpoint) bool { return e.Weight <= 0 })
	if len(eps) == 0 { // all weights are 0: everyone in turn
		p.cycle, p.passes, p.tries = uint64(len(all)), []pass{{eps: all}}, len(all)
		return p
	}
	p.tries = 2*len(eps) + 64
	div, weights := uint64(0), make([]uint64, 0, len(eps))
	for _, e := range eps {
		weights = append(weights, uint64(e.Weight))
		div = gcd(div, uint64(e.Weight))
	}
	slices.SortFunc(weights, func(a, b uint64) int { return cmp.Compare(b, a) })
	members := 0 // what the passes would hold if each had a list of its own
	for i := range weights {
		if i+1 == len(weights) || weights[i+1] != weights[i] {
			members += i + 1
		}
	}
	if members > maxMembers {
		// Too many different weights: by falling weight the members of each
		// pass are a prefix of those of the next, and one list serves all.
		slices.SortStableFunc(eps, func(a, b *Endpoint) int { return cmp.Compare(b.Weight, a.Weight) })
	}
	for i := 0; i < len(weights); {
		w := weights[i]
		for i < len(weights) && weights[i] == w {
			i++
		}
		lower := uint64(0)
		if i < len(weights) {
			lower = weights[i]
		}
		list := eps[:i]
		if members <= maxMembers {
			list = atLeast(eps, w)
		}
		p.passes = append(p.passes, pass{p.cycle, list})
		p.cycle += uint64(i) * ((w - lower) / div)
	}
	p.flatten()
	return p
}

func atLeast(eps []*Endpoint, w uint64) []*Endpoint {
	return slices.DeleteFunc(slices.Clone(eps), func(e *Endpoint) bool { return uint64(e.Weight) < w })
}

// flatten lays a short sequence out, so that a pick is one division.
func (p *roundRobin) flatten() {
	if p.cycle > maxCycle || len(p.passes) == 1 {
		return
	}
	seq := make([]*Endpoint, p.cycle)
	for i := range seq {
		seq[i] = p.at(uint64(i))
	}
	p.passes = []pass{{0, seq}}
}

// at is the endpoint at a position of the sequence.
func (p *roundRobin) at(k uint64) *Endpoint {
	ps := &p.passes[0]
	if len(p.passes) > 1 {
		k %= p.cycle
		i := sort.Search(len(p.passes), func(i int) bool { return p.passes[i].start > k })
		ps = &p.passes[i-1]
		k -= ps.start
	}
	return ps.eps[k%uint64(len(ps.eps))]
}

func (p *roundRobin) Pick(_ uint64, tried []*Endpoint) *Endpoint {
	if p.cycle == 0 {
		return nil
	}
	if len(tried) == 0 {
		return p.at(p.next.Add(1) - 1)
	}
	for range p.tries {
		if e := p.at(p.next.Add(1) - 1); !in(tried, e) {
			return e
		}
	}
	// A tried endpoint of overwhelming weight fills the sequence: leave it.
	for _, e := range p.passes[len(p.passes)-1].eps {
		if !in(tried, e) {
			return e
		}
	}
	return nil
}
