package balancer

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
)

const (
	pointsPerUnit = 160
	maxPoints     = 1 << 21 // of one ring; beyond it weights lose precision
)

// ring is the consistent hash ring of lua-resty-balancer, which is nginx's: 160
// points for each unit of weight, units being weights divided by their greatest
// common divisor. A server's points are a chain: each is the CRC32 of the
// server's name followed by the point before, and the first one follows zero.
type ring struct {
	eps    []*Endpoint
	hashes []uint32 // sorted
	owners []uint32 // index in eps of the server that owns the point
}

// newRing lays out the ring. It is never changed: servers that must not be used
// are stepped over, so that keys of other servers stay where they are.
func newRing(eps []*Endpoint) *ring {
	r := &ring{eps: eps}
	units, total := ringUnits(eps)
	points := make([]uint64, 0, total*pointsPerUnit) // hash above, owner below
	for i, e := range eps {
		name := e.ring
		if name == "" {
			name = e.Addr
		}
		base := crc32.ChecksumIEEE([]byte(strings.ReplaceAll(name, ":", "\x00")))
		var prev [4]byte
		for range units[i] * pointsPerUnit {
			h := crc32.Update(base, crc32.IEEETable, prev[:])
			points = append(points, uint64(h)<<32|uint64(i))
			binary.LittleEndian.PutUint32(prev[:], h)
		}
	}
	slices.Sort(points)
	r.hashes = make([]uint32, len(points))
	r.owners = make([]uint32, len(points))
	for i, p := range points {
		r.hashes[i], r.owners[i] = uint32(p>>32), uint32(p)
	}
	return r
}

// ringUnits is each endpoint's number of weight units, and their sum.
func ringUnits(eps []*Endpoint) (units []uint64, total uint64) {
	div := uint64(0)
	for _, e := range eps {
		div = gcd(div, uint64(max(e.Weight, 0)))
	}
	units = make([]uint64, len(eps))
	if div == 0 {
		return units, 0
	}
	for i, e := range eps {
		units[i] = uint64(max(e.Weight, 0)) / div
		total += units[i]
	}
	if total*pointsPerUnit <= maxPoints {
		return units, total
	}
	scale, all := total/(maxPoints/pointsPerUnit)+1, total
	total = 0
	for i, u := range units {
		if u > 0 && all > 0 {
			units[i] = max(u/scale, 1)
		}
		total += units[i]
	}
	return units, total
}

// find is the index of the first point at or after hash, around the ring. CRC32
// spreads evenly, so the place is guessed and then corrected by a step or two.
func (r *ring) find(hash uint32) int {
	n := len(r.hashes)
	i := int(uint64(hash) * uint64(n) >> 32)
	for i > 0 && r.hashes[i-1] >= hash {
		i--
	}
	for i < n && r.hashes[i] < hash {
		i++
	}
	if i == n {
		return 0
	}
	return i
}

// chash picks from a ring.
type chash struct {
	ring *ring
	off  []bool // by index in ring.eps: do not use; nil: all may be used
}

func (p *chash) Pick(key uint64, tried []*Endpoint) *Endpoint {
	r := p.ring
	if len(r.hashes) == 0 {
		return nil
	}
	i := r.find(uint32(key))
	if o := r.owners[i]; len(tried) == 0 && (p.off == nil || !p.off[o]) {
		return r.eps[o]
	}
	if !p.left(tried) {
		return nil
	}
	for {
		o := r.owners[i]
		if e := r.eps[o]; (p.off == nil || !p.off[o]) && !in(tried, e) {
			return e
		}
		if i++; i == len(r.hashes) {
			i = 0
		}
	}
}

// left reports whether a walk around the ring would find an endpoint.
func (p *chash) left(tried []*Endpoint) bool {
	for i, e := range p.ring.eps {
		if e.Weight > 0 && (p.off == nil || !p.off[i]) && !in(tried, e) {
			return true
		}
	}
	return false
}
