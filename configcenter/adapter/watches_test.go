package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
)

// watching is one watch stream on both sides.
type watching struct {
	p          *pairing
	ours, etcd *receiver
	stop       context.CancelFunc
	opened     int // number of the operation
}

// noWatch is the id in answers that are about no watch.
const noWatch = -1

// receiver is a watch stream and what came from it.
type receiver struct {
	pb.Watch_WatchClient
	came     chan *pb.WatchResponse // closed at the end of the stream
	seen     map[int64]string       // by watch, since the last sync
	there    map[int64]bool         // watches; false: was there
	progress int64                  // the last revision that was told
	lost     bool                   // a compaction ended a watch: etcd then tells no more progress
}

func (p *pairing) receive(ctx context.Context, s *side) *receiver {
	r := &receiver{must(s.Watch(ctx))(p.t), make(chan *pb.WatchResponse), map[int64]string{}, map[int64]bool{}, 0, false}
	go func() { // ends with the stream
		defer close(r.came)
		for {
			m, err := r.Recv()
			if err != nil {
				return
			}
			select {
			case r.came <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

// streams opens a stream on both sides, with a watch for sync.
func (p *pairing) streams() *watching {
	ctx, cancel := context.WithCancel(p.ctx)
	w := &watching{p, p.receive(ctx, p.ours), p.receive(ctx, p.etcd), cancel, p.done}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("none")}}})
	w.await((*pb.WatchResponse).GetCreated)
	w.sync()
	return w
}

func (w *watching) send(r *pb.WatchRequest) {
	w.p.t.Helper()
	if err := errors.Join(w.ours.Send(r), w.etcd.Send(r)); err != nil {
		w.p.t.Fatal(err)
	}
}

// sync writes a key that the stream's first watch sees, and waits until both
// sides have told of it, and the same all in all.
func (w *watching) sync() {
	w.p.t.Helper()
	w.p.syncs++
	r := &pb.PutRequest{Key: []byte("none"), Value: fmt.Append(nil, w.p.syncs)}
	for _, s := range []*side{w.p.ours, w.p.etcd} {
		resp := must(s.Put(w.p.ctx, r))(w.p.t)
		w.p.rev = resp.Header.Revision
	}
	mark := fmt.Sprintf("value: \"%d\"", w.p.syncs)
	deadline := time.After(patience)
	for !strings.Contains(w.etcd.seen[0], mark) || !maps.Equal(w.ours.seen, w.etcd.seen) {
		if !w.hear(deadline) {
			w.differ()
		}
	}
	clear(w.ours.seen)
	clear(w.etcd.seen)
}

// hear takes what comes next; it says false when it is too late for that.
func (w *watching) hear(deadline <-chan time.Time) bool {
	select {
	case m := <-w.ours.came:
		w.ours.note(m)
		return m != nil
	case m := <-w.etcd.came:
		w.etcd.note(m)
		return m != nil
	case <-deadline:
		return false
	}
}

func (w *watching) differ() {
	w.p.t.Helper()
	for id := range w.etcd.seen {
		if w.ours.seen[id] != w.etcd.seen[id] {
			w.p.t.Fatalf("operation %d: watch %d\n got %s\nwant %s", w.p.done, id, w.ours.seen[id], w.etcd.seen[id])
		}
	}
	w.p.t.Fatalf("operation %d: more watches than in etcd: %v", w.p.done, w.ours.seen)
}

// settle waits until all watches of the stream have caught up, and asks both
// sides how far they are. etcd says nothing while a watch has not caught up, or
// waits for a revision that is yet to come.
func (w *watching) settle() {
	w.p.t.Helper()
	ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	deadline := time.After(patience)
	for w.etcd.progress < w.p.rev {
		if err := w.etcd.Send(ask); err != nil {
			w.p.t.Fatal(err)
		}
		for again := time.After(20 * time.Millisecond); w.etcd.progress < w.p.rev && w.hear(again); {
		}
		select {
		case <-deadline:
			w.p.t.Fatalf("operation %d: etcd tells no progress", w.p.done)
		default:
		}
		if w.etcd.progress < w.p.rev {
			w.sync()
		}
	}
	if err := w.ours.Send(ask); err != nil {
		w.p.t.Fatal(err)
	}
	for w.ours.progress < w.p.rev {
		if !w.hear(deadline) {
			w.p.t.Fatalf("operation %d: progress up to %d, etcd's up to %d", w.p.done, w.ours.progress, w.etcd.progress)
		}
	}
}

// await waits for an answer on both sides, so that what comes next is later.
func (w *watching) await(is func(*pb.WatchResponse) bool) {
	for _, r := range []*receiver{w.ours, w.etcd} {
		for done := false; !done; {
			m, ok := <-r.came
			if !ok {
				w.p.t.Fatal("the stream has ended")
			}
			r.note(m)
			done = is(m)
		}
	}
}

func (r *receiver) note(m *pb.WatchResponse) {
	if m == nil {
		return // the stream has ended
	}
	if m.WatchId == noWatch && len(m.Events) == 0 && !m.Created && !m.Canceled {
		r.progress = max(r.progress, m.Header.Revision)
	}
	r.lost = r.lost || m.CompactRevision > 0
	for _, e := range m.Events {
		text, err := prototext.MarshalOptions{Multiline: true}.Marshal(e)
		r.seen[m.WatchId] += string(bytes.ReplaceAll(text, []byte("  "), []byte(" "))) + fmt.Sprintln(err)
	}
	if m.Created && !m.Canceled || r.there[m.WatchId] {
		r.there[m.WatchId] = !m.Canceled
	}
	if m.Created || m.Canceled {
		r.seen[m.WatchId] += fmt.Sprintln("created", m.Created, "canceled", m.Canceled, m.CompactRevision, m.CancelReason)
	}
}

// watch adds a watch to a stream, and sees that it has caught up.
func (p *pairing) watch() {
	const streams, lifetime = 3, 500
	if len(p.watches) == streams && p.watches[0].opened+lifetime < p.done {
		p.watches[0].sync()
		p.watches[0].stop()
		p.watches = p.watches[1:]
	}
	if len(p.watches) < streams {
		p.watches = append(p.watches, p.streams())
	}
	w := p.watches[p.random.IntN(len(p.watches))]
	c := &pb.WatchCreateRequest{Key: p.key(), RangeEnd: p.end(), PrevKv: p.maybe(50), ProgressNotify: p.maybe(20), Fragment: p.maybe(20)}
	if p.maybe(60) {
		c.StartRevision = p.aRevision()
	}
	switch n := p.random.IntN(20); {
	case n == 0:
		c.StartRevision = -1
	case n == 1:
		c.StartRevision = p.rev + 5
	case n < 4:
		id := int64(50 + p.random.IntN(4))
		if there, known := w.etcd.there[id]; there || !known { // see drop
			c.WatchId = id
		}
	case n < 7:
		c.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_FilterType(p.random.IntN(2))}
	}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}})
	w.await((*pb.WatchResponse).GetCreated)
	w.sync()
	if w.etcd.lost {
		w.stop()
		p.watches = slices.DeleteFunc(p.watches, func(o *watching) bool { return o == w })
		return
	}
	w.settle()
}

// drop cancels a watch, which may not be there. One that a compaction has
// cancelled is left alone: etcd still knows it, and cancels it again.
func (w *watching) drop() {
	w.sync()
	id := int64(1 + w.p.random.IntN(8))
	if w.p.maybe(20) {
		id = int64(50 + w.p.random.IntN(4))
	}
	there, known := w.etcd.there[id]
	if known && !there {
		return
	}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	if there {
		w.await((*pb.WatchResponse).GetCanceled)
	}
	w.sync()
}

func (p *pairing) sync() {
	for _, w := range p.watches {
		w.sync()
	}
}
