package router

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
)

// All yields the routes in the order of their IDs. A router made by New of them
// must have the same Digest.
func (r *Router[T]) All() iter.Seq[Route[T]] {
	return func(yield func(Route[T]) bool) {
		r.ids.each(func(s *slot[*rule[T]]) bool { return yield(s.val.Route) })
	}
}

// Digest is a checksum of what Match works on: all entries by host and path, in
// their order of trial. Routers with the same routes have the same digest, no
// matter by which changes they came about. of adds what a route leads to; it may
// be nil. It walks over everything: not for the request path.
func (r *Router[T]) Digest(of func(T) uint64) uint64 {
	h := fnv.New64a()
	r.tables(func(host string, t *table[T]) {
		write(h, host)
		digest(h, t, of)
	})
	return h.Sum64()
}

// tables calls visit for all tables, with the host as configured: "" for the
// routes without host, then the names, then the wildcards.
func (r *Router[T]) tables(visit func(host string, t *table[T])) {
	visit("", r.any)
	r.names.each(func(s *slot[*table[T]]) bool {
		visit(s.key, s.val)
		return true
	})
	r.wilds.each(func(s *slot[wildTable[T]]) bool {
		visit(s.val.show, s.val.paths)
		return true
	})
}

func digest[T any](h hash.Hash64, t *table[T], of func(T) uint64) {
	t.each(func(s *slot[bucket[T]]) bool {
		write(h, s.key)
		for _, e := range s.val.crowd().entries {
			r := e.rule
			write(h, r.ID, e.path, strconv.Itoa(r.Priority), strconv.FormatInt(r.Order, 10), strconv.Itoa(int(r.methods)))
			for _, host := range r.hosts {
				write(h, host.show)
			}
			for _, p := range r.Addrs {
				write(h, p.String())
			}
			if of != nil {
				write(h, strconv.FormatUint(of(e.to), 16))
			}
		}
		return true
	})
}

func write(h hash.Hash64, texts ...string) {
	for _, s := range texts {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
}

// Check verifies that every route is found where a request would look for it,
// in the right order, and that nothing else is there. The error names the first
// route for which this does not hold; it means a bug.
func (r *Router[T]) Check() error {
	want := 0
	var err error
	r.ids.each(func(s *slot[*rule[T]]) bool {
		for _, o := range s.val.ops(nil, r.mode, false) {
			want++
			if err = r.checkEntry(o); err != nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	got, sorted := 0, true
	r.tables(func(_ string, t *table[T]) {
		n, ok := count(t)
		got, sorted = got+n, sorted && ok
	})
	if !sorted {
		return errors.New("the entries of a path are out of order")
	}
	if got != want {
		return fmt.Errorf("the tables have %d entries, the routes %d", got, want)
	}
	return nil
}

// checkEntry looks for an entry on the way that a request takes.
func (r *Router[T]) checkEntry(o op[T]) error {
	t := r.any
	if o.host != nil {
		t = nil
		if o.host.wild {
			if s := exactly(r.wilds, o.key); s != nil {
				t = s.val.paths
			}
		} else if s := r.names.get(o.key); s != nil {
			t = s.val
		}
		if t == nil {
			return fmt.Errorf("route %q: host %q is not found", o.entry.rule.ID, o.host.show)
		}
	}
	s := exactly(t, o.entry.text)
	if s == nil {
		return fmt.Errorf("route %q: path %q is not found", o.entry.rule.ID, o.entry.path)
	}
	b := s.val.crowd()
	i, found := slices.BinarySearchFunc(b.entries, o.entry, (*entry[T]).compare)
	if !found || b.entries[i] != o.entry || o.entry.exact != (i < b.exact) {
		return fmt.Errorf("route %q: path %q is not in its place", o.entry.rule.ID, o.entry.path)
	}
	return nil
}

// exactly returns the slot of key as find has it.
func exactly[V any](n *node[V], key string) *slot[V] {
	chain := n.find(key, nil)
	if k := len(chain) - 1; k >= 0 && chain[k].key == key {
		return chain[k]
	}
	return nil
}

// count counts the entries of a table, and says whether they are in order.
func count[T any](t *table[T]) (n int, sorted bool) {
	sorted = true
	t.each(func(s *slot[bucket[T]]) bool {
		c := s.val.crowd()
		n += len(c.entries)
		sorted = sorted && c.entries[0] == s.val.first[0] && slices.IsSortedFunc(c.entries, (*entry[T]).compare) && c.indexed()
		return true
	})
	return n, sorted
}

// indexed says whether byHost and rest have all entries, in order.
func (b *crowd[T]) indexed() bool {
	if b.byHost == nil {
		return true
	}
	n, ok := len(b.rest), slices.IsSortedFunc(b.rest, (*entry[T]).compare)
	b.byHost.each(func(s *slot[[]*entry[T]]) bool {
		n += len(s.val)
		ok = ok && slices.IsSortedFunc(s.val, (*entry[T]).compare)
		return true
	})
	for _, e := range b.entries {
		n -= 1
		if e.rule.plainHosts {
			n -= len(e.rule.hosts) - 1
		}
	}
	return ok && n == 0
}
