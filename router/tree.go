package router

import (
	"math/bits"
	"slices"
	"strings"

	radix "github.com/armon/go-radix"
)

// shardSize is the most keys that one go-radix tree holds. A change rebuilds one
// such tree, so it bounds the cost of a change; above it a shard becomes a fork.
const shardSize = 64

// scanSize is the number of keys up to which a scan of their marks beats a
// go-radix tree, and saves its memory. It is also the size of a shard where no
// prefixes are looked for.
const scanSize = 16

// node is a persistent map from string to V that finds all keys that are
// prefixes of a text, longest first. It is never changed once built; with
// returns a new one that shares whatever the edits do not touch. A nil node is
// the empty map.
//
// A node is either a shard (sorted slots, and a go-radix tree over them), or a
// fork, whose keys go on in the kid of the byte after prefix. On a large map
// most of the time goes into waiting for memory; hence the layout: what a step
// down needs lies together, and the bytes that a fork skips are not compared
// there but once, with the key that is found in the end.
type node[V any] struct {
	at    int32 // length of prefix
	count int32 // keys in here and below
	marks marks
	kids  []*node[V] // fork: in the order of their bytes; empty in a shard
	slots []slot[V]  // shard: the keys; fork: the key that is prefix itself, if there is one
	index radix.Tree // *slot[V] by key without prefix; not set for few slots, or when not asked for

	prefix string // what all keys begin with
}

// marks tell which way to go without a look at the keys. In a fork, the first
// half is the set of the bytes that have a kid, and the second half counts the
// members before each of its words. In a shard without index, each slot has its
// mark: length of the key, the byte after the prefix, and the last one.
type marks [scanSize]uint32

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

// addKid appends the mark of the next kid; they come in the order of their bytes.
func (m *marks) addKid(label byte) {
	w := label >> 5
	m[w] |= 1 << (label & 31)
	for w++; w < scanSize/2; w++ {
		m[scanSize/2+w]++
	}
}

// kid returns the place of the kid of a byte.
func (m *marks) kid(label byte) (int, bool) {
	w, bit := label>>5, uint32(1)<<(label&31)
	word := m[w]
	return int(m[scanSize/2+w]) + bits.OnesCount32(word&(bit-1)), word&bit != 0
}

// markOf returns the mark of a key longer than at. Other keys, and those too
// long for a mark, have none: such a key must be looked at.
func markOf(key string, at int32) uint32 {
	if len(key) <= int(at) || len(key) > 1<<16-1 {
		return 0
	}
	return uint32(len(key)) | uint32(key[at])<<16 | uint32(key[len(key)-1])<<24
}

// find appends to chain the slots from which all keys that are prefixes of text
// are reached: the last one and its ups are the longest, then the one before it
// and its ups, and so on.
func (n *node[V]) find(text string, chain []*slot[V]) []*slot[V] {
	for n != nil && len(text) >= int(n.at) {
		if len(n.kids) == 0 {
			if s := n.longest(text); s != nil {
				chain = append(chain, s)
			}
			return chain
		}
		if len(n.slots) > 0 && strings.HasPrefix(text, n.slots[0].key) {
			chain = append(chain, &n.slots[0])
		}
		if len(text) == int(n.at) {
			return chain
		}
		i, ok := n.marks.kid(text[n.at])
		if !ok {
			return chain
		}
		n = n.kids[i]
	}
	return chain
}

// longest returns the slot of the longest key of a shard that is a prefix of
// text, which is not shorter than the prefix.
func (n *node[V]) longest(text string) *slot[V] {
	at := int(n.at)
	if len(n.slots) > scanSize {
		if text[:at] != n.prefix {
			return nil
		}
		_, v, _ := n.index.LongestPrefix(text[at:])
		s, _ := v.(*slot[V])
		return s
	}
	for i := len(n.slots) - 1; i >= 0; i-- {
		m := n.marks[i&(scanSize-1)]
		size := int(m & (1<<16 - 1))
		if size > 0 && (size > len(text) || text[at] != byte(m>>16) || text[size-1] != byte(m>>24)) {
			continue
		}
		if strings.HasPrefix(text, n.slots[i].key) {
			return &n.slots[i]
		}
	}
	return nil
}

// get returns the slot of key, or nil.
func (n *node[V]) get(key string) *slot[V] {
	for n != nil && len(n.kids) > 0 {
		if len(key) <= int(n.at) {
			if len(n.slots) > 0 && n.slots[0].key == key {
				return &n.slots[0]
			}
			return nil
		}
		i, ok := n.marks.kid(key[n.at])
		if !ok {
			return nil
		}
		n = n.kids[i]
	}
	if n == nil {
		return nil
	}
	if len(n.slots) > scanSize {
		if i, ok := place(n.slots, key); ok {
			return &n.slots[i]
		}
		return nil
	}
	want := markOf(key, n.at)
	for i := range n.slots {
		if n.marks[i&(scanSize-1)] == want && n.slots[i].key == key {
			return &n.slots[i]
		}
	}
	return nil
}

// place returns where key is in sorted slots, or would be.
func place[V any](slots []slot[V], key string) (int, bool) {
	return slices.BinarySearchFunc(slots, key, func(s slot[V], k string) int { return strings.Compare(s.key, k) })
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
	return int(n.count)
}
