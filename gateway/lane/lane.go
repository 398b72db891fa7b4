// Package lane keeps processors out of each other's way. What every request
// writes to, a counter or a list, costs little while one processor has it and
// much once several pull it back and forth; so there is one for each, called a
// lane here, and those who want the whole look at all of them.
//
// It does not know what is counted or kept.
package lane

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// N is the number of lanes: one for each processor there was at the start.
var N = runtime.GOMAXPROCS(0)

// places hands out lanes. A pool keeps what was put into it with the processor
// that did so, which is all that is needed: no promise, but mostly right.
var places = newPlaces(N)

func newPlaces(n int) *sync.Pool {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	var next atomic.Uint32
	return &sync.Pool{New: func() any { return &all[int(next.Add(1)-1)%n] }}
}

// Here is the lane of the processor that this runs on, in [0, N).
func Here() int {
	if N == 1 {
		return 0
	}
	p := places.Get().(*int)
	i := *p
	places.Put(p)
	return i
}

// line is the memory that processors exchange at once, twice: they fetch pairs.
const line = 128

// Counter is a count that many processors add to. The zero value is ready.
// Safe for concurrent use; it must not be copied.
type Counter struct {
	once  sync.Once
	cells []cell
	ready atomic.Bool
}

type cell struct {
	n atomic.Int64
	_ [line - 8]byte
}

// Add adds n.
func (c *Counter) Add(n int64) { c.AddAt(Here(), n) }

// AddAt is Add for those who know their lane.
func (c *Counter) AddAt(lane int, n int64) {
	if !c.ready.Load() {
		c.once.Do(c.init)
	}
	c.cells[lane].n.Add(n)
}

func (c *Counter) init() {
	c.cells = make([]cell, N)
	c.ready.Store(true)
}

// Load is the sum.
func (c *Counter) Load() (sum int64) {
	if c.ready.Load() {
		for i := range c.cells {
			sum += c.cells[i].n.Load()
		}
	}
	return sum
}
