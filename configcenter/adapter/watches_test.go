package adapter_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watching is one watch stream on both sides.
type watching struct {
	p          *pairing
	ours, etcd *receiver
}

// receiver is a watch stream and everything that came from it.
type receiver struct {
	pb.Watch_WatchClient
	came chan *pb.WatchResponse // closed at the end of the stream
	seen map[int64]string       // by watch
}

func (p *pairing) receive(s *side) *receiver {
	r := &receiver{must(s.Watch(p.ctx))(p.t), make(chan *pb.WatchResponse), map[int64]string{}}
	go func() { // ends with the pairing
		defer close(r.came)
		for {
			m, err := r.Recv()
			if err != nil {
				return
			}
			select {
			case r.came <- m:
			case <-p.ctx.Done():
				return
			}
		}
	}()
	return r
}

// streams opens a stream on both sides, with a watch for sync.
func (p *pairing) streams() *watching {
	w := &watching{p, p.receive(p.ours), p.receive(p.etcd)}
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
	var m *pb.WatchResponse
	deadline := time.After(10 * time.Second)
	for ok := true; ok; ok = m != nil {
		if strings.Contains(w.etcd.seen[0], mark) && maps.Equal(w.ours.seen, w.etcd.seen) {
			return
		}
		m = nil
		select {
		case m = <-w.ours.came:
			w.ours.note(m)
		case m = <-w.etcd.came:
			w.etcd.note(m)
		case <-deadline:
		}
	}
	for id := range w.etcd.seen {
		if w.ours.seen[id] != w.etcd.seen[id] {
			w.p.t.Fatalf("operation %d: watch %d\n got %s\nwant %s", w.p.done, id, w.ours.seen[id], w.etcd.seen[id])
		}
	}
	w.p.t.Fatalf("operation %d: more watches than in etcd: %v", w.p.done, w.ours.seen)
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
	for _, e := range m.Events {
		r.seen[m.WatchId] += text(e)
	}
	if m.Created || m.Canceled {
		r.seen[m.WatchId] += fmt.Sprintln("created", m.Created, "canceled", m.Canceled, m.CompactRevision, m.CancelReason)
	}
}

// watch adds a watch to a stream, and sees that it has caught up.
func (p *pairing) watch() {
	if len(p.watches) < 3 {
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
		if id := int64(50 + p.random.IntN(4)); !strings.Contains(w.etcd.seen[id], "canceled true") {
			c.WatchId = id
		}
	case n < 7:
		c.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_FilterType(p.random.IntN(2))}
	}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}})
	w.await((*pb.WatchResponse).GetCreated)
	w.sync()
}

// drop cancels a watch, which may not be there. One that a compaction has
// cancelled is left alone: etcd still knows it, and cancels it again.
func (w *watching) drop() {
	w.sync()
	id := int64(1 + w.p.random.IntN(8))
	if w.p.maybe(20) {
		id = int64(50 + w.p.random.IntN(4))
	}
	seen := w.etcd.seen[id]
	there := strings.LastIndex(seen, "created true canceled false") > strings.LastIndex(seen, "created false canceled true")
	if !there && strings.Contains(seen, "canceled true") {
		return
	}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	if there {
		w.await((*pb.WatchResponse).GetCanceled)
	}
	w.sync()
}

// compacted is what note makes of a watch that a compaction ended.
var compacted = regexp.MustCompile("canceled true [1-9]")

// progress asks how far the stream has come, and compares the answers. etcd
// says nothing while a watch has not caught up or not begun, so it is asked
// again; and never any more when a compaction has ended one of the watches.
func (w *watching) progress() {
	for _, seen := range w.etcd.seen {
		if compacted.MatchString(seen) {
			return
		}
	}
	for range 6 { // beyond the revision from which the last watch may start
		w.sync()
	}
	ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	var said []int64
	for _, r := range []*receiver{w.ours, w.etcd} {
		var m *pb.WatchResponse
		for m == nil || len(m.Events) > 0 || m.Created || m.Canceled {
			if m == nil {
				if err := r.Send(ask); err != nil {
					w.p.t.Fatal(err)
				}
			}
			var ok bool
			select {
			case m, ok = <-r.came:
				if !ok {
					w.p.t.Fatal("the stream has ended")
				}
				r.note(m)
			case <-tick.C:
				m = nil
			case <-deadline:
				w.p.t.Fatalf("operation %d: no progress is told, %d sides have; etcd %v, ours %v", w.p.done, len(said), w.etcd.seen, w.ours.seen)
			}
		}
		if m.WatchId != -1 {
			w.p.t.Errorf("operation %d: progress is told to watch %d", w.p.done, m.WatchId)
		}
		said = append(said, m.Header.Revision)
	}
	if said[0] != said[1] {
		w.p.t.Errorf("operation %d: progress up to %d, in etcd %d", w.p.done, said[0], said[1])
	}
}

func (p *pairing) sync() {
	for _, w := range p.watches {
		w.sync()
	}
}
