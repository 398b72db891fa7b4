package adapter_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
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

// stream opens a stream on both sides, with a watch that keeps progress
// requests answered.
func (p *pairing) stream() *watching {
	w := &watching{p, p.receive(p.ours), p.receive(p.etcd)}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("none")}}})
	w.sync()
	return w
}

func (w *watching) send(r *pb.WatchRequest) {
	w.p.t.Helper()
	if err := errors.Join(w.ours.Send(r), w.etcd.Send(r)); err != nil {
		w.p.t.Fatal(err)
	}
}

// sync waits until both sides have told all they know, and the same. etcd may
// answer a progress request before an earlier watch has begun: then it is
// asked again.
func (w *watching) sync() {
	w.p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		w.until(w.ours)
		w.until(w.etcd)
		if maps.Equal(w.ours.seen, w.etcd.seen) {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for id := range w.etcd.seen {
		if w.ours.seen[id] != w.etcd.seen[id] {
			w.p.t.Fatalf("operation %d: watch %d\n got %s\nwant %s", w.p.done, id, w.ours.seen[id], w.etcd.seen[id])
		}
	}
	w.p.t.Fatalf("operation %d: more watches than in etcd: %v", w.p.done, w.ours.seen)
}

// again is how long a progress request may be without an answer until the next
// one: etcd drops them while a watch is behind.
const again = 20 * time.Millisecond

// until asks for progress until the answer has the present revision.
func (w *watching) until(r *receiver) {
	w.p.t.Helper()
	deadline := time.After(patience)
	for {
		ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		if err := r.Send(ask); err != nil {
			w.p.t.Fatal(err)
		}
		for waiting := true; waiting; {
			select {
			case m, ok := <-r.came:
				if !ok {
					w.p.t.Fatal("the stream has ended")
				}
				if m.WatchId == -1 && !m.Created && m.Header.Revision >= w.p.rev {
					return
				}
				r.note(m)
			case <-time.After(again):
				waiting = false
			case <-deadline:
				w.p.t.Fatal("no progress")
			}
		}
	}
}

func (r *receiver) note(m *pb.WatchResponse) {
	for _, e := range m.Events {
		text, err := prototext.MarshalOptions{Multiline: true}.Marshal(e)
		r.seen[m.WatchId] += string(bytes.ReplaceAll(text, []byte("  "), []byte(" "))) + fmt.Sprintln(err)
	}
	if m.Created || m.Canceled {
		r.seen[m.WatchId] += fmt.Sprintln("created", m.Created, "canceled", m.Canceled, m.CompactRevision, m.CancelReason)
	}
}

// watch adds a watch to a stream, and sees that it has caught up.
func (p *pairing) watch() {
	if len(p.watches) < 3 {
		p.watches = append(p.watches, p.stream())
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
		c.WatchId = int64(50 + p.random.IntN(4))
	case n < 7:
		c.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_FilterType(p.random.IntN(2))}
	}
	w.sync()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}})
	w.sync()
}

// drop cancels a watch, which may not be there.
func (w *watching) drop() {
	w.sync()
	id := int64(1 + w.p.random.IntN(8))
	if w.p.maybe(20) {
		id = int64(50 + w.p.random.IntN(4))
	}
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	w.sync()
}

func (p *pairing) sync() {
	for _, w := range p.watches {
		w.sync()
	}
}
