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
	key   string // of host: its name reversed
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
		key := string(reversed(nil, h.name))
		for i := range r.entries {
			ops = append(ops, op[T]{entry: &r.entries[i], host: h, key: key, del: del})
		}
	}
	return ops
}

// place ranks the tables of one host name: without host, exact, wildcard.
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
	if c := strings.Compare(o.key, b.key); c != 0 {
		return c
	}
	return cmp.Compare(o.place(), b.place())
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
	var hosts []edit[hostTables[T]]
	for len(ops) > 0 {
		var group []op[T]
		group, ops = cut(ops, op[T].compareTable)
		lead := group[0]
		if lead.host == nil {
			r.any = withOps(r.any, group)
			continue
		}
		if k := len(hosts) - 1; k < 0 || hosts[k].key != lead.key {
			hosts = append(hosts, edit[hostTables[T]]{key: lead.key, val: r.hostTables(lead)})
		}
		t := &hosts[len(hosts)-1].val
		if lead.host.wild {
			t.wild = withOps(t.wild, group)
		} else {
			t.exact = withOps(t.exact, group)
		}
	}
	for i := range hosts {
		hosts[i].del = hosts[i].val.exact == nil && hosts[i].val.wild == nil
	}
	r.hosts = r.hosts.with(hosts, true)
}

// hostTables returns a copy of the tables of a host name, empty ones for a new name.
func (r *Router[T]) hostTables(o op[T]) hostTables[T] {
	if t, ok := r.hosts.get(o.key); ok {
		return t
	}
	return hostTables[T]{name: o.host.name, wildName: "*" + o.host.name}
}

// withOps returns a table with ops done.
func withOps[T any](t *table[T], ops []op[T]) *table[T] {
	var edits []edit[bucket[T]]
	for len(ops) > 0 {
		var group []op[T]
		group, ops = cut(ops, func(a, b op[T]) int { return strings.Compare(a.entry.text, b.entry.text) })
		text := group[0].entry.text
		old, _ := t.get(text)
		next := old.with(group)
		edits = append(edits, edit[bucket[T]]{key: text, val: next, del: len(next.entries) == 0})
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
