// Package keyed holds a bounded number of values by key in the memory of the
// process, for plugins that keep a little about each client, path or the like.
//
// It does not know what is kept.
package keyed

import (
	"hash/maphash"
	"math"
	"sync"
)

const (
	shards   = 64
	perShard = 4096 // keys; what is over pushes others out
	looked   = 8    // at so many keys an eviction looks
)

// Map keeps at most 262,144 values. Beyond that the one of a few that would end
// soonest has to go. Safe for concurrent use.
type Map[V any] struct {
	seed  maphash.Seed
	parts [shards]part[V]
}

type part[V any] struct {
	mu    sync.Mutex
	items map[string]*item[V]
	_     [40]byte // a cache line of its own
}

type item[V any] struct {
	v   V
	end int64
}

// Never is the end of a value that is of use until it is deleted.
const Never = math.MaxInt64

// New returns an empty map.
func New[V any]() *Map[V] {
	m := &Map[V]{seed: maphash.MakeSeed()}
	for i := range m.parts {
		m.parts[i].items = map[string]*item[V]{}
	}
	return m
}

// Held is a value that its holder alone sees, until Done.
type Held[V any] struct {
	V     *V
	part  *part[V]
	item  *item[V]
	key   []byte
	now   int64
	fresh bool
}

// Hold locks the value of key, a zero one when there is none or it has ended.
// The holder calls Done soon and does not use the map until then. key is not
// kept.
func (m *Map[V]) Hold(key []byte, now int64) Held[V] {
	p := m.part(key)
	p.mu.Lock()
	it := p.items[string(key)]
	fresh := it == nil
	if fresh {
		it = new(item[V])
	} else if it.end <= now {
		*it = item[V]{}
	}
	return Held[V]{&it.v, p, it, key, now, fresh}
}

// Done says when the value ends, in the units of now; at or before now it is
// deleted.
func (h *Held[V]) Done(end int64) {
	defer h.part.mu.Unlock()
	h.item.end = end
	switch {
	case end <= h.now && !h.fresh:
		delete(h.part.items, string(h.key))
	case end > h.now && h.fresh:
		h.part.sweep(h.now)
		h.part.items[string(h.key)] = h.item
	}
}

// Get is the value of key, or a zero one.
func (m *Map[V]) Get(key []byte, now int64) (v V) {
	p := m.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if it := p.items[string(key)]; it != nil && it.end > now {
		v = it.v
	}
	return v
}

func (m *Map[V]) part(key []byte) *part[V] {
	return &m.parts[maphash.Bytes(m.seed, key)%shards]
}

// sweep drops ended ones among a few, and makes room in a full part.
func (p *part[V]) sweep(now int64) {
	var first string
	soonest, n := int64(Never), 0
	for key, it := range p.items {
		if it.end <= now {
			delete(p.items, key)
		} else if it.end <= soonest {
			first, soonest = key, it.end
		}
		if n++; n == looked {
			break
		}
	}
	if len(p.items) >= perShard {
		delete(p.items, first)
	}
}

// Len is the number of values kept.
func (m *Map[V]) Len() (n int) {
	for i := range m.parts {
		p := &m.parts[i]
		p.mu.Lock()
		n += len(p.items)
		p.mu.Unlock()
	}
	return n
}
