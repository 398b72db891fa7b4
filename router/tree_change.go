package router

import (
	"slices"
	"strings"

	radix "github.com/armon/go-radix"
)

// with returns the map with edits done; they are sorted by key, and each key is
// there once. indexed asks for what find needs; without it only get is quick.
func (n *node[V]) with(edits []edit[V], indexed bool) *node[V] {
	if len(edits) == 0 {
		return n
	}
	if n == nil {
		return build(merge(nil, edits), indexed)
	}
	if len(n.kids) == 0 {
		return build(merge(n.slots, edits), indexed)
	}
	p := min(common(n.prefix, edits[0].key), common(n.prefix, edits[len(edits)-1].key))
	if p < len(n.prefix) {
		f := &node[V]{prefix: n.prefix[:p], at: int32(p)}
		f.add(n.prefix[p], n)
		n = f
	}
	return n.withFork(edits, indexed)
}

// add appends a kid to a fork that is being made.
func (n *node[V]) add(label byte, kid *node[V]) {
	n.marks.addKid(label)
	n.kids = append(n.kids, kid)
	n.count += kid.count
}

// withFork is with for a fork whose prefix all edits share.
func (n *node[V]) withFork(edits []edit[V], indexed bool) *node[V] {
	f := &node[V]{prefix: n.prefix, at: n.at, slots: n.slots}
	if e := edits[0]; e.key == n.prefix {
		f.slots = merge(nil, edits[:1])
		edits = edits[1:]
	}
	f.count = int32(len(f.slots))
	f.kids = make([]*node[V], 0, len(n.kids)+1)
	for i := 0; i < len(n.kids) || len(edits) > 0; {
		var kid *node[V]
		var label byte
		if len(edits) == 0 || i < len(n.kids) && n.kids[i].prefix[n.at] <= edits[0].key[n.at] {
			kid = n.kids[i]
			label = kid.prefix[n.at]
			i++
		} else {
			label = edits[0].key[n.at]
		}
		k := 0
		for k < len(edits) && edits[k].key[n.at] == label {
			k++
		}
		if kid = kid.with(edits[:k], indexed); kid != nil {
			f.add(label, kid)
		}
		edits = edits[k:]
	}
	return f.settle(indexed)
}

// settle turns a fork that has become too small back into a shard.
func (n *node[V]) settle(indexed bool) *node[V] {
	if len(n.slots) == 0 && len(n.kids) == 1 {
		return n.kids[0]
	}
	if n.size() > most(indexed)/2 {
		return n
	}
	slots := make([]slot[V], 0, n.count)
	n.each(func(s *slot[V]) bool {
		slots = append(slots, *s)
		return true
	})
	return build(slots, indexed)
}

// most is the number of keys above which a shard becomes a fork.
func most(indexed bool) int {
	if indexed {
		return shardSize
	}
	return scanSize
}

// merge returns a new slice of slots with edits done.
func merge[V any](slots []slot[V], edits []edit[V]) []slot[V] {
	out := make([]slot[V], 0, len(slots)+len(edits))
	for _, e := range edits {
		i, found := place(slots, e.key)
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
	if len(slots) <= most(indexed) {
		return newShard(slots, indexed)
	}
	f := &node[V]{prefix: shared(slots)}
	f.at = int32(len(f.prefix))
	if slots[0].key == f.prefix {
		f.slots = []slot[V]{{key: slots[0].key, val: slots[0].val}}
		f.count = 1
		slots = slots[1:]
	}
	for len(slots) > 0 {
		label := slots[0].key[f.at]
		k := 1
		for k < len(slots) && slots[k].key[f.at] == label {
			k++
		}
		part := slots[:k:k]
		if k <= most(indexed) {
			part = slices.Clone(part) // else the whole array lives as long as one shard
		}
		f.add(label, build(part, indexed))
		slots = slots[k:]
	}
	f.kids = slices.Clip(f.kids)
	return f
}

func newShard[V any](slots []slot[V], indexed bool) *node[V] {
	n := &node[V]{count: int32(len(slots)), slots: slots, prefix: shared(slots)}
	n.at = int32(len(n.prefix))
	if len(slots) <= scanSize {
		for i := range slots {
			n.marks[i] = markOf(slots[i].key, n.at)
		}
	}
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
		n.index = *radix.New()
		for i := range slots {
			n.index.Insert(slots[i].key[n.at:], &slots[i])
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
