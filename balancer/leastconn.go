package balancer

import (
	"math"
	"sync/atomic"
)

// leastConn picks the endpoint with the lowest (1+active)/weight. Equals take turns.
type leastConn struct {
	all  []candidate
	best float64 // no score is lower
	turn atomic.Uint32
}

type candidate struct {
	*Endpoint
	step float64 // 1/weight; infinite for weight 0, which is used when nothing else is left
}

func newLeastConn(eps []*Endpoint) *leastConn {
	p := &leastConn{best: math.Inf(1)}
	for _, e := range eps {
		c := candidate{e, 1 / float64(max(e.Weight, 0))}
		p.all = append(p.all, c)
		p.best = min(p.best, c.step)
	}
	return p
}

func (p *leastConn) Pick(_ uint64, tried []*Endpoint) *Endpoint {
	n := len(p.all)
	if n == 0 {
		return nil
	}
	var found *Endpoint
	low, at := 0.0, int(p.turn.Add(1)-1)%n
	for range n {
		c := &p.all[at]
		if at++; at == n {
			at = 0
		}
		score := float64(1+c.inflight.Load()) * c.step
		if found != nil && score >= low || len(tried) > 0 && in(tried, c.Endpoint) {
			continue
		}
		found, low = c.Endpoint, score
		if score <= p.best { // an idle one of greatest weight cannot be beaten
			break
		}
	}
	return found
}
