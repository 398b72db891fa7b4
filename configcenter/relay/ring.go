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
	key    []byte // as clients see it
	del    bool
	rev    int64
	create int64
	wire   []byte // as a field of a watch response
}

// batch is the events of one revision; they are never parted.
type batch struct {
	rev    int64
	events []event
	bytes  int
}

// eventsField is the number of the events in a watch response.
const eventsField = 11

// encode groups events by revision and cuts the namespace off their keys.
func encode(events []*mvccpb.Event, namespace string) ([]batch, error) {
	var bs []batch
	for _, e := range events {
		if e.Kv == nil || len(e.Kv.Key) < len(namespace) {
			continue
		}
		if namespace != "" {
			e.Kv.Key = e.Kv.Key[len(namespace):]
			if e.PrevKv != nil {
				e.PrevKv.Key = e.Kv.Key
			}
		}
		size := proto.Size(e)
		wire := protowire.AppendTag(make([]byte, 0, size+8), eventsField, protowire.BytesType)
		wire, err := proto.MarshalOptions{}.MarshalAppend(protowire.AppendVarint(wire, uint64(size)), e)
		if err != nil {
			return nil, err
		}
		if n := len(bs); n == 0 || bs[n-1].rev != e.Kv.ModRevision {
			bs = append(bs, batch{rev: e.Kv.ModRevision})
		}
		b := &bs[len(bs)-1]
		b.events = append(b.events, event{key: slices.Clone(e.Kv.Key), del: e.Type == mvccpb.Event_DELETE,
			rev: e.Kv.ModRevision, create: e.Kv.CreateRevision, wire: wire})
		b.bytes += len(wire) + len(e.Kv.Key) + eventBytes
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
				n += len(bs[end].events[k].wire)
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
			if len(p.body) > part && len(p.body)-part+len(e.wire) > partBytes {
				part = len(p.body)
				p.parts = append(p.parts, part)
			}
			p.body = append(p.body, e.wire...)
		}
	}
	p.parts = append(p.parts, len(p.body))
	return p
}
