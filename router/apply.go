package router

import (
	"cmp"
	"slices"
	"strings"
)

// op puts an entry into the tables of one host, or takes it out.
type op[T any] struct {
	entry *entry[T]
	host  *host  // nil: the table of routes without host
	key   string // of host: its name; reversed if it is a wildcard
	del   bool
}

// ops appends what puts the rule in place, or takes it out.
func (r *rule[T]) ops(ops []op[T], mode Mode, del bool) []op[T] {
	if mode != HostURI || len(r.hosts) == 0 {
		for i := range r.entries {
			ops = append(ops, op[T]{entry: &r.entries[i], del: del})
		}
		return ops
	}
	for k := range r.hosts {
		h := &r.hosts[k]
		key := h.name
		if h.wild {
			key = string(reversed(nil, key))
		}
		for i := range r.entries {
			ops = append(ops, op[T]{entry: &r.entries[i], host: h, key: key, del: del})
		}
	}
	return ops
}

// place ranks the kinds of tables: without host, of names, of wildcards.
func (o op[T]) place() int {
	switch {
	case o.host == nil:
		return 0
	case !o.host.wild:
		return 1
	}
	return 2
}

// compareTable is the order of the tables that ops are for.
func (o op[T]) compareTable(b op[T]) int {
	if c := cmp.Compare(o.place(), b.place()); c != 0 {
		return c
	}
	return strings.Compare(o.key, b.key)
}

// compare sorts ops by table, text and order of trial; what goes is before what comes.
func (o op[T]) compare(b op[T]) int {
	if c := o.compareTable(b); c != 0 {
		return c
	}
	if c := strings.Compare(o.entry.text, b.entry.text); c != 0 {
		return c
	}
	if c := o.entry.compare(b.entry); c != 0 || o.del == b.del {
		return c
	}
	if o.del {
		return -1
	}
	return 1
}

// apply does ops on a router that is still being made.
func (r *Router[T]) apply(ops []op[T]) {
	slices.SortFunc(ops, op[T].compare)
	var names []edit[*table[T]]
	var wilds []edit[wildTable[T]]
	for len(ops) > 0 {
		var group []op[T]
		group, ops = cut(ops, op[T].compareTable)
		host, key := group[0].host, group[0].key
		switch {
		case host == nil:
			r.any = withOps(r.any, group)
		case host.wild:
			var t *table[T]
			if s := r.wilds.get(key); s != nil {
				t = s.val.paths
			}
			t = withOps(t, group)
			wilds = append(wilds, edit[wildTable[T]]{key: key, val: wildTable[T]{t, host.show}, del: t == nil})
		default:
			var t *table[T]
			if s := r.names.get(key); s != nil {
				t = s.val
			}
			t = withOps(t, group)
			names = append(names, edit[*table[T]]{key: key, val: t, del: t == nil})
		}
	}
	r.names = r.names.with(names, false)
	r.wilds = r.wilds.with(wilds, true)
}

// withOps returns a table with ops done.
func withOps[T any](t *table[T], ops []op[T]) *table[T] {
	var edits []edit[bucket[T]]
	for len(ops) > 0 {
		var group []op[T]
		group, ops = cut(ops, func(a, b op[T]) int { return strings.Compare(a.entry.text, b.entry.text) })
		text := group[0].entry.text
		var old bucket[T]
		if s := t.get(text); s != nil {
			old = s.val
		}
		next, some := old.with(group)
		edits = append(edits, edit[bucket[T]]{key: text, val: next, del: !some})
	}
	return t.with(edits, true)
}

// cut splits off the leading ops that compare equal.
func cut[T any](ops []op[T], compare func(a, b op[T]) int) (group, rest []op[T]) {
	n := 1
	for n < len(ops) && compare(ops[0], ops[n]) == 0 {
		n++
	}
	return ops[:n], ops[n:]
}
