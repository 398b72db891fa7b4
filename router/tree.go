package router

import (
	"slices"
	"strings"

	radix "github.com/armon/go-radix"
)

// shardSize is the most keys that one go-radix tree holds. A change rebuilds one
// such tree, so it bounds the cost of a change; above it a shard becomes a fork.
const shardSize = 64

// scanSize is the number of keys up to which a scan beats a go-radix tree, and
// saves its memory.
const scanSize = 8

// node is a persistent map from string to V that finds all keys that are
// prefixes of a text, longest first. It is never changed once built; with
// returns a new one that shares whatever the edits do not touch. A nil node is
// the empty map.
//
// A node is either a shard (sorted slots, and a go-radix tree over them), or a
// fork, whose keys go on in the kid of the byte after prefix.
type node[V any] struct {
	prefix string // what all keys begin with
	labels string // fork: next bytes, ascending; empty in a shard
	kids   []*node[V]
	own    *slot[V] // fork: the key that is prefix itself; nil if there is none

	slots []slot[V]
	index *radix.Tree // *slot[V] by key without prefix; nil for few slots, or when not asked for

	count int // keys in here and below
}

// slot is one key. up is the slot of the longest other key of the same shard
// that is a prefix of this key.
type slot[V any] struct {
	key string
	val V
	up  *slot[V]
}

// edit sets key to val, or takes it out.
type edit[V any] struct {
	key string
	val V
	del bool
}

// find appends to chain the slots from which all keys that are prefixes of text
// are reached: the last one and its ups are the longest, then the one before it
// and its ups, and so on.
func (n *node[V]) find(text string, chain []*slot[V]) []*slot[V] {
	known := 0 // bytes of prefix that the forks above have compared
	for n != nil {
		if !strings.HasPrefix(text[known:], n.prefix[known:]) {
			return chain
		}
		known = len(n.prefix)
		if n.labels == "" {
			if s := n.longest(text, known); s != nil {
				chain = append(chain, s)
			}
			return chain
		}
		if n.own != nil {
			chain = append(chain, n.own)
		}
		if len(text) == known {
			return chain
		}
		i := strings.IndexByte(n.labels, text[known])
		if i < 0 {
			return chain
		}
		n = n.kids[i]
	}
	return chain
}

// longest returns the slot of the longest key of a shard that is a prefix of
// text; the first known bytes are equal.
func (n *node[V]) longest(text string, known int) *slot[V] {
	if n.index != nil {
		if _, v, ok := n.index.LongestPrefix(text[known:]); ok {
			return v.(*slot[V])
		}
		return nil
	}
	for i := len(n.slots) - 1; i >= 0; i-- {
		if strings.HasPrefix(text[known:], n.slots[i].key[known:]) {
			return &n.slots[i]
		}
	}
	return nil
}

// get returns the value of key.
func (n *node[V]) get(key string) (val V, ok bool) {
	for n != nil && n.labels != "" {
		if !strings.HasPrefix(key, n.prefix) {
			return val, false
		}
		if len(key) == len(n.prefix) {
			if n.own == nil {
				return val, false
			}
			return n.own.val, true
		}
		i := strings.IndexByte(n.labels, key[len(n.prefix)])
		if i < 0 {
			return val, false
		}
		n = n.kids[i]
	}
	if n == nil {
		return val, false
	}
	i, ok := slices.BinarySearchFunc(n.slots, key, func(s slot[V], k string) int { return strings.Compare(s.key, k) })
	if !ok {
		return val, false
	}
	return n.slots[i].val, true
}

// each calls yield for all slots in the order of their keys until it returns false.
func (n *node[V]) each(yield func(*slot[V]) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		if !yield(&n.slots[i]) {
			return false
		}
	}
	if n.own != nil && !yield(n.own) {
		return false
	}
	for _, k := range n.kids {
		if !k.each(yield) {
			return false
		}
	}
	return true
}

// size is the number of keys.
func (n *node[V]) size() int {
	if n == nil {
		return 0
	}
	return n.count
}

// with returns the map with edits done; they are sorted by key, and each key is
// there once. indexed asks for what find needs; without it only get is quick.
func (n *node[V]) with(edits []edit[V], indexed bool) *node[V] {
	if len(edits) == 0 {
		return n
	}
	if n == nil {
		return build(merge(nil, edits), indexed)
	}
	if n.labels == "" {
		return build(merge(n.slots, edits), indexed)
	}
	p := min(common(n.prefix, edits[0].key), common(n.prefix, edits[len(edits)-1].key))
	if p < len(n.prefix) {
		n = &node[V]{count: n.count, prefix: n.prefix[:p], labels: n.prefix[p : p+1], kids: []*node[V]{n}}
	}
	return n.withFork(edits, indexed)
}

// withFork is with for a fork whose prefix all edits share.
func (n *node[V]) withFork(edits []edit[V], indexed bool) *node[V] {
	f := &node[V]{prefix: n.prefix, own: n.own}
	if e := edits[0]; e.key == n.prefix {
		f.own = nil
		if !e.del {
			f.own = &slot[V]{key: e.key, val: e.val}
		}
		edits = edits[1:]
	}
	if f.own != nil {
		f.count = 1
	}
	labels := make([]byte, 0, len(n.labels)+1)
	f.kids = make([]*node[V], 0, len(n.labels)+1)
	at := len(n.prefix)
	for i := 0; i < len(n.labels) || len(edits) > 0; {
		var kid *node[V]
		var label byte
		if len(edits) == 0 || i < len(n.labels) && n.labels[i] <= edits[0].key[at] {
			kid, label = n.kids[i], n.labels[i]
			i++
		} else {
			label = edits[0].key[at]
		}
		k := 0
		for k < len(edits) && edits[k].key[at] == label {
			k++
		}
		if kid = kid.with(edits[:k], indexed); kid != nil {
			labels = append(labels, label)
			f.kids = append(f.kids, kid)
			f.count += kid.count
		}
		edits = edits[k:]
	}
	f.labels = string(labels)
	return f.settle(indexed)
}

// settle turns a fork that has become too small back into a shard.
func (n *node[V]) settle(indexed bool) *node[V] {
	if n.own == nil && len(n.kids) == 1 {
		return n.kids[0]
	}
	if n.count > shardSize/2 {
		return n
	}
	slots := make([]slot[V], 0, n.count)
	n.each(func(s *slot[V]) bool {
		slots = append(slots, *s)
		return true
	})
	return build(slots, indexed)
}

// merge returns a new slice of slots with edits done.
func merge[V any](slots []slot[V], edits []edit[V]) []slot[V] {
	out := make([]slot[V], 0, len(slots)+len(edits))
	for _, e := range edits {
		i, found := slices.BinarySearchFunc(slots, e.key, func(s slot[V], k string) int { return strings.Compare(s.key, k) })
		out = append(out, slots[:i]...)
		slots = slots[i:]
		if found {
			slots = slots[1:]
		}
		if !e.del {
			out = append(out, slot[V]{key: e.key, val: e.val})
		}
	}
	return append(out, slots...)
}

// build makes a node of sorted slots; it takes the slice over.
func build[V any](slots []slot[V], indexed bool) *node[V] {
	if len(slots) == 0 {
		return nil
	}
	if len(slots) <= shardSize {
		return newShard(slots, indexed)
	}
	f := &node[V]{count: len(slots), prefix: shared(slots)}
	if slots[0].key == f.prefix {
		f.own = &slot[V]{key: slots[0].key, val: slots[0].val}
		slots = slots[1:]
	}
	var labels []byte
	for len(slots) > 0 {
		label := slots[0].key[len(f.prefix)]
		k := 1
		for k < len(slots) && slots[k].key[len(f.prefix)] == label {
			k++
		}
		part := slots[:k:k]
		if k <= shardSize {
			part = slices.Clone(part) // else the whole array lives as long as one shard
		}
		labels = append(labels, label)
		f.kids = append(f.kids, build(part, indexed))
		slots = slots[k:]
	}
	f.labels = string(labels)
	f.kids = slices.Clip(f.kids)
	return f
}

func newShard[V any](slots []slot[V], indexed bool) *node[V] {
	n := &node[V]{count: len(slots), slots: slots, prefix: shared(slots)}
	if !indexed {
		return n
	}
	var up *slot[V]
	for i := range slots {
		s := &slots[i]
		for up != nil && !strings.HasPrefix(s.key, up.key) {
			up = up.up
		}
		s.up = up
		up = s
	}
	if len(slots) > scanSize {
		n.index = radix.New()
		for i := range slots {
			n.index.Insert(slots[i].key[len(n.prefix):], &slots[i])
		}
	}
	return n
}

// shared is what the keys of sorted slots have in common.
func shared[V any](slots []slot[V]) string {
	first, last := slots[0].key, slots[len(slots)-1].key
	return first[:common(first, last)]
}

// common is the length of the common beginning of a and b.
func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
