package trafficsplit

import (
	"math/bits"
	"sort"
	"sync/atomic"
)

// rotation deals out indices in proportion to their weights: over as many
// turns as the weights sum up to, each comes exactly as often as it weighs, and
// not in one run. Safe for concurrent use, without locks.
type rotation struct {
	ends   []uint64 // sums of the weights up to and with each
	stride uint64   // has no divisor in common with the total
	turn   atomic.Uint64
}

// newRotation takes weights that are all 0 for equal ones.
func newRotation(weights []uint64) *rotation {
	r := &rotation{ends: make([]uint64, len(weights))}
	var divisor, total, largest uint64
	for _, w := range weights {
		divisor, largest = gcd(divisor, w), max(largest, w)
	}
	// What no 32 bits hold is cut down, so that no sum of weights overflows.
	if d := largest >> 32; d > divisor {
		divisor = d
	}
	for i, w := range weights {
		if divisor == 0 {
			total++
		} else {
			total += w / divisor
		}
		r.ends[i] = total
	}
	r.stride = stride(total)
	return r
}

// stride is near the golden section of total, so that turns in a row fall far
// apart.
func stride(total uint64) uint64 {
	s := max(total/8*5+total%8*5/8, 1)
	for gcd(s, total) > 1 {
		s++
	}
	return s
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (r *rotation) next() int {
	if len(r.ends) == 1 {
		return 0
	}
	total := r.ends[len(r.ends)-1]
	hi, lo := bits.Mul64((r.turn.Add(1)-1)%total, r.stride)
	at := bits.Rem64(hi, lo, total)
	return sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > at })
}
