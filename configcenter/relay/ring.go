package relay

import (
	"cmp"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// event is encoded once for all who get it.
type event struct {
	key  []byte // as clients see it
	del  bool
	body []byte // the event without the value before
	prev []byte // what is to be added for who wants that too
}

// size of the event in a watch response.
func (e *event) size(prev bool) int {
	n := len(e.body)
	if prev {
		n += len(e.prev)
	}
	return protowire.SizeTag(eventsField) + protowire.SizeBytes(n)
}

func (e *event) append(to []byte, prev bool) []byte {
	n := len(e.body)
	if prev {
		n += len(e.prev)
	}
	to = protowire.AppendTag(to, eventsField, protowire.BytesType)
	to = append(protowire.AppendVarint(to, uint64(n)), e.body...)
	if prev {
		to = append(to, e.prev...)
	}
	return to
}

// batch is the events of one revision; they are never parted.
type batch struct {
	rev    int64
	events []event
	bytes  int
}

// eventsField is the number of the events in a watch response, prevField that
// of the value before in an event.
const (
	eventsField = 11
	prevField   = 3
)

// encode groups events by revision and cuts the namespace off their keys.
func encode(events []*mvccpb.Event, namespace string) ([]batch, error) {
	var bs []batch
	for _, e := range events {
		if e.Kv == nil || len(e.Kv.Key) < len(namespace) {
			continue
		}
		e.Kv.Key = e.Kv.Key[len(namespace):]
		ev := event{key: e.Kv.Key, del: e.Type == mvccpb.Event_DELETE}
		if p := e.PrevKv; p != nil {
			p.Key = e.Kv.Key
			prev, err := proto.Marshal(p)
			if err != nil {
				return nil, err
			}
			ev.prev = protowire.AppendBytes(protowire.AppendTag(nil, prevField, protowire.BytesType), prev)
			e.PrevKv = nil
		}
		var err error
		if ev.body, err = proto.Marshal(e); err != nil {
			return nil, err
		}
		if n := len(bs); n == 0 || bs[n-1].rev != e.Kv.ModRevision {
			bs = append(bs, batch{rev: e.Kv.ModRevision})
		}
		b := &bs[len(bs)-1]
		b.events = append(b.events, ev)
		b.bytes += len(ev.key) + len(ev.body) + len(ev.prev) + eventBytes
	}
	return bs, nil
}

// eventBytes is what an event costs beside its content, about.
const eventBytes = 128

// since is the index of the first batch of a revision or a later one.
func since(bs []batch, rev int64) int {
	i, _ := slices.BinarySearchFunc(bs, rev, func(b batch, rev int64) int { return cmp.Compare(b.rev, rev) })
	return i
}

// taste is which events of its span a watcher wants.
type taste struct {
	span            span
	noPut, noDelete bool
	prev            bool // with the values before
}

func (t *taste) wants(e *event) bool {
	return (e.del && !t.noDelete || !e.del && !t.noPut) && t.span.has(e.key)
}

// page is what some watchers get next, encoded.
type page struct {
	from, to int64 // revisions, both included
	body     []byte
	parts    []int // where the parts of the body end that clients may get one by one
}

// Bounds of a page: a page is one message, and larger only when one revision is.
// Clients that allow parts get those.
const (
	pageBytes = 256 << 10
	partBytes = 1 << 20
)

// read makes the page of the batches from a revision on. All revisions up to
// until are in them.
func read(bs []batch, t *taste, from, until int64) *page {
	p := &page{from: from, to: until}
	size := 0
	i := since(bs, from)
	end := i
	for ; end < len(bs) && bs[end].rev <= until; end++ {
		n := 0
		for k := range bs[end].events {
			if t.wants(&bs[end].events[k]) {
				n += bs[end].events[k].size(t.prev)
			}
		}
		if size > 0 && size+n > pageBytes {
			p.to = bs[end].rev - 1
			break
		}
		size += n
	}
	if size == 0 {
		return p
	}
	p.body = make([]byte, 0, size)
	part := 0
	for ; i < end; i++ {
		for k := range bs[i].events {
			e := &bs[i].events[k]
			if !t.wants(e) {
				continue
			}
			if len(p.body) > part && len(p.body)-part+e.size(t.prev) > partBytes {
				part = len(p.body)
				p.parts = append(p.parts, part)
			}
			p.body = e.append(p.body, t.prev)
		}
	}
	p.parts = append(p.parts, len(p.body))
	return p
}
