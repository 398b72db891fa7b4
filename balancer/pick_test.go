package balancer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// servers makes endpoints 10.0.0.1:80, 10.0.0.2:80 … of the given weights.
func servers(weights ...int) []*Endpoint {
	var eps []*Endpoint
	for i, w := range weights {
		eps = append(eps, &Endpoint{Addr: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Weight: w})
	}
	return eps
}

func equal(n int) []*Endpoint {
	w := make([]int, n)
	for i := range w {
		w[i] = 1
	}
	return servers(w...)
}

// The contract of every picker.
func TestContract(t *testing.T) {
	for kind, mk := range Kinds {
		t.Run(kind, func(t *testing.T) {
			if e := mk(nil).Pick(1, nil); e != nil {
				t.Errorf("empty set: picked %v", e.Addr)
			}
			eps := servers(3, 1, 2, 1)
			p := mk(eps)
			var tried []*Endpoint
			for range eps {
				e := p.Pick(HashKey("k"), tried)
				if e == nil || in(tried, e) {
					t.Fatalf("after %d tries: picked %v", len(tried), e)
				}
				tried = append(tried, e)
			}
			if e := p.Pick(HashKey("k"), tried); e != nil {
				t.Errorf("all tried: picked %s", e.Addr)
			}
			key := uint64(7)
			if n := testing.AllocsPerRun(100, func() { p.Pick(key, nil); p.Pick(key, tried[:2]); key += 1 << 20 }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestConcurrentPicks(t *testing.T) {
	for kind, mk := range Kinds {
		t.Run(kind, func(t *testing.T) {
			p := mk(equal(5))
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := range 2000 {
						e := p.Pick(uint64(g*7919+i)<<12, nil)
						e.Begin()
						e.Done(Outcome{Latency: time.Millisecond, Final: true, Status: 200})
					}
				})
			}
			wg.Wait()
			for _, e := range p.(interface{ all0() []*Endpoint }).all0() {
				if e.Active() != 0 {
					t.Errorf("%s: %d active", e.Addr, e.Active())
				}
			}
		})
	}
}

func (p *roundRobin) all0() []*Endpoint { return p.passes[0].eps }
func (p *chash) all0() []*Endpoint      { return p.ring.eps }
func (p *ewma) all0() []*Endpoint       { return p.eps }
func (p *leastConn) all0() (eps []*Endpoint) {
	for _, c := range p.all {
		eps = append(eps, c.Endpoint)
	}
	return eps
}

// passes is the published algorithm, literally: thresholds falling from the
// greatest weight by the greatest common divisor.
func passes(eps []*Endpoint, n int) []*Endpoint {
	div, top := 0, 0
	for _, e := range eps {
		div, top = int(gcd(uint64(div), uint64(e.Weight))), max(top, e.Weight)
	}
	var out []*Endpoint
	for cw := top; ; {
		for _, e := range eps {
			if e.Weight >= cw && e.Weight > 0 {
				if out = append(out, e); len(out) == n {
					return out
				}
			}
		}
		if cw -= div; cw <= 0 {
			cw = top
		}
	}
}

func ports(eps []*Endpoint) string {
	var b strings.Builder
	for _, e := range eps {
		b.WriteString(strings.TrimSuffix(strings.TrimPrefix(e.Addr, "10.0.0."), ":80"))
		b.WriteByte(' ')
	}
	return b.String()
}

func TestRoundRobinSequence(t *testing.T) {
	for _, c := range []struct {
		weights []int
		want    string
	}{
		{[]int{1, 1, 1}, "1 2 3 1 2 3 "},
		{[]int{3, 1}, "1 1 1 2 1 1 1 2 "},
		{[]int{1, 2}, "2 1 2 2 1 2 "},
		{[]int{10, 20}, "2 1 2 2 1 2 "},
		{[]int{4, 2, 0, 1}, "1 1 1 2 1 2 4 "},
		{[]int{0, 0}, "1 2 1 2 "},
		{[]int{5}, "1 1 "},
	} {
		p := NewRoundRobin(servers(c.weights...), 0)
		var got []*Endpoint
		for range strings.Fields(c.want) {
			got = append(got, p.Pick(0, nil))
		}
		if ports(got) != c.want {
			t.Errorf("weights %v: %s, want %s", c.weights, ports(got), c.want)
		}
	}
}

// Whatever way the sequence is kept, it is the one of the algorithm.
func TestRoundRobinAgainstAlgorithm(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		weights := make([]int, 1+rnd.IntN(12))
		for i := range weights {
			weights[i] = 1 + rnd.IntN([]int{3, 40, 1000}[rnd.IntN(3)])
		}
		eps := servers(weights...)
		p := NewRoundRobin(eps, 0)
		for i, want := range passes(eps, 5000) {
			if got := p.Pick(0, nil); got != want {
				t.Fatalf("weights %v, pick %d: %s, want %s", weights, i, got.Addr, want.Addr)
			}
		}
	}
}

// Over a cycle the counts are exactly the weights, from any start, also with so
// many different weights that passes share one list.
func TestRoundRobinCounts(t *testing.T) {
	many := make([]int, 500)
	for i := range many {
		many[i] = 2 * (i + 1)
	}
	for _, weights := range [][]int{{5, 1, 1}, {1000000, 999998, 2}, {7, 0, 3, 3}, many} {
		eps := servers(weights...)
		p := NewRoundRobin(eps, 12345)
		count := map[*Endpoint]int{}
		for range p.(*roundRobin).cycle {
			count[p.Pick(0, nil)]++
		}
		div := 0
		for _, w := range weights {
			div = int(gcd(uint64(div), uint64(w)))
		}
		for i, e := range eps {
			if count[e] != weights[i]/div {
				t.Errorf("%d weights: endpoint %d picked %d times, want %d", len(weights), i, count[e], weights[i]/div)
			}
		}
	}
}

func TestRoundRobinLeavesHeavyTried(t *testing.T) {
	eps := servers(1000000000, 1)
	p := NewRoundRobin(eps, 0)
	if e := p.Pick(0, eps[:1]); e != eps[1] {
		t.Fatalf("picked %v", e)
	}
}

func TestLeastConn(t *testing.T) {
	eps := servers(3, 2)
	p := Kinds["least_conn"](eps)
	var got []*Endpoint
	for range 3 { // held: the lowest (1+active)/weight
		e := p.Pick(0, nil)
		e.Begin()
		got = append(got, e)
	}
	if ports(got) != "1 2 1 " {
		t.Errorf("held: %s", ports(got))
	}
	eps = servers(1, 1, 1)
	p = Kinds["least_conn"](eps)
	got = nil
	for range 6 { // idle ones of equal weight take turns
		e := p.Pick(0, nil)
		e.Begin()
		e.Done(Outcome{})
		got = append(got, e)
	}
	if ports(got) != "1 2 3 1 2 3 " {
		t.Errorf("idle: %s", ports(got))
	}
	eps = servers(0, 1)
	p = Kinds["least_conn"](eps)
	for range 100 {
		e := p.Pick(0, nil)
		e.Begin()
		if e != eps[1] {
			t.Fatal("weight 0 was picked")
		}
	}
	if p.Pick(0, eps[1:]) != eps[0] {
		t.Error("weight 0 is the last resort")
	}
}

func TestEWMAPrefersFaster(t *testing.T) {
	eps := equal(2)
	p := Kinds["ewma"](eps)
	for _, e := range eps {
		e.Begin()
	}
	eps[0].Done(Outcome{Latency: 500 * time.Millisecond})
	eps[1].Done(Outcome{Latency: 5 * time.Millisecond})
	for range 100 {
		if p.Pick(0, nil) != eps[1] {
			t.Fatal("the slower one was picked")
		}
	}
	eps = equal(3) // nothing known: everyone gets picked
	p = Kinds["ewma"](eps)
	count := map[*Endpoint]int{}
	for range 3000 {
		count[p.Pick(0, nil)]++
	}
	for _, e := range eps {
		if count[e] < 500 {
			t.Errorf("%s: %d of 3000", e.Addr, count[e])
		}
	}
}

func TestPriority(t *testing.T) {
	for kind := range Kinds {
		eps := equal(6)
		for i, prio := range []int{-1, 5, 0, 5, 0, -1} {
			eps[i].Priority = prio
		}
		p, err := New(kind, eps)
		if err != nil {
			t.Fatal(err)
		}
		var tried []*Endpoint
		for _, want := range []int{5, 5, 0, 0, -1, -1} {
			e := p.Pick(HashKey("a"), tried)
			if e == nil || e.Priority != want {
				t.Fatalf("%s: try %d: %v, want priority %d", kind, len(tried), e, want)
			}
			tried = append(tried, e)
		}
		if e := p.Pick(HashKey("a"), tried); e != nil {
			t.Errorf("%s: picked %s again", kind, e.Addr)
		}
	}
	if _, err := New("fastest", nil); err == nil || err.Error() != "invalid balancer type: fastest" {
		t.Errorf("unknown kind: %v", err)
	}
}
