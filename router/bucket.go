package router

import (
	"slices"
	"strings"
)

// indexFrom is the number of entries from which a bucket looks them up by host.
const indexFrom = 8

// bucket is the entries of one text in their order of trial.
type bucket[T any] struct {
	first [1]*entry[T]
	more  *crowd[T] // all entries, if there are several; first is one of them
}

// crowd is the entries of a text that has several. The first exact of them have
// no more than the text.
//
// Where hosts are a condition, many routes may share a text and differ by host:
// then byHost has the entries for plain host names, and rest the others.
type crowd[T any] struct {
	entries []*entry[T]
	exact   int
	byHost  *node[[]*entry[T]] // nil: look at entries
	rest    []*entry[T]
}

// crowd returns a bucket's entries as if there were several.
func (b *bucket[T]) crowd() crowd[T] {
	if b.more != nil {
		return *b.more
	}
	if b.first[0] == nil {
		return crowd[T]{}
	}
	c := crowd[T]{entries: b.first[:]}
	if b.first[0].exact {
		c.exact = 1
	}
	return c
}

// with returns the bucket with ops done, and whether anything is in it; ops are
// sorted.
func (b *bucket[T]) with(ops []op[T]) (next bucket[T], some bool) {
	c := b.crowd()
	c = c.with(ops)
	if len(c.entries) == 0 {
		return next, false
	}
	next.first[0] = c.entries[0]
	if len(c.entries) > 1 {
		next.more = &c
	}
	return next, true
}

// with returns the crowd with ops done; they are sorted.
func (b *crowd[T]) with(ops []op[T]) crowd[T] {
	next := crowd[T]{entries: amend(b.entries, ops), exact: b.exact, byHost: b.byHost, rest: b.rest}
	for _, o := range ops {
		switch {
		case !o.entry.exact:
		case o.del:
			next.exact--
		default:
			next.exact++
		}
	}
	hosted := b.byHost != nil || slices.ContainsFunc(ops, func(o op[T]) bool { return o.entry.hosted })
	if len(next.entries) < indexFrom || !hosted {
		next.byHost, next.rest = nil, nil
		return next
	}
	if b.byHost == nil {
		ops = make([]op[T], 0, len(next.entries))
		for _, e := range next.entries {
			ops = append(ops, op[T]{entry: e})
		}
		next.rest = nil
	}
	next.index(ops)
	return next
}

// index does ops on byHost and rest.
func (b *crowd[T]) index(ops []op[T]) {
	var rest, named []op[T]
	for _, o := range ops {
		if !o.entry.rule.plainHosts {
			rest = append(rest, o)
			continue
		}
		for _, h := range o.entry.rule.hosts {
			named = append(named, op[T]{entry: o.entry, del: o.del, key: h.name})
		}
	}
	b.rest = amend(b.rest, rest)
	byKey := func(a, b op[T]) int { return strings.Compare(a.key, b.key) }
	slices.SortStableFunc(named, byKey)
	var edits []edit[[]*entry[T]]
	for len(named) > 0 {
		var group []op[T]
		group, named = cut(named, byKey)
		var list []*entry[T]
		if old := b.byHost.get(group[0].key); old != nil {
			list = old.val
		}
		list = amend(list, group)
		edits = append(edits, edit[[]*entry[T]]{key: group[0].key, val: list, del: len(list) == 0})
	}
	if b.byHost = b.byHost.with(edits, false); b.byHost == nil {
		b.rest = nil
	}
}

// amend returns a copy of list, which is in order of trial, with ops done, which
// are too.
func amend[T any](list []*entry[T], ops []op[T]) []*entry[T] {
	if len(ops) == 0 {
		return list
	}
	out := make([]*entry[T], 0, len(list)+len(ops))
	for _, o := range ops {
		i, found := slices.BinarySearchFunc(list, o.entry, (*entry[T]).compare)
		out = append(out, list[:i]...)
		list = list[i:]
		if !o.del {
			out = append(out, o.entry)
		} else if found {
			list = list[1:]
		}
	}
	return append(out, list...)
}

// find returns the first entry that admits the request, without the exact ones
// when open is set.
func (b *bucket[T]) find(in *Input, m methods, open bool) *entry[T] {
	if b.more != nil {
		return b.more.find(in, m, open)
	}
	if e := b.first[0]; !(open && e.exact) && e.admits(in, m, "") {
		return e
	}
	return nil
}

func (b *crowd[T]) find(in *Input, m methods, open bool) *entry[T] {
	if b.byHost == nil {
		entries := b.entries
		if open {
			entries = entries[b.exact:]
		}
		for _, e := range entries {
			if e.admits(in, m, "") {
				return e
			}
		}
		return nil
	}
	var named []*entry[T]
	var host string
	if s := b.byHost.get(in.Host); s != nil {
		named, host = s.val, s.key
	}
	rest := b.rest
	for len(named)+len(rest) > 0 {
		from, known := &rest, ""
		if len(rest) == 0 || len(named) > 0 && named[0].compare(rest[0]) < 0 {
			from, known = &named, host
		}
		e := (*from)[0]
		*from = (*from)[1:]
		if !(open && e.exact) && e.admits(in, m, known) {
			return e
		}
	}
	return nil
}
