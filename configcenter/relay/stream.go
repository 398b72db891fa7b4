package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// noWatch is the id in answers that are about no watcher, or about all.
const noWatch = -1

// stream is one Watch call of a client. The call's goroutine takes the
// requests; another one sends, and is there only while there is something to
// send: a client that does not read blocks that one and nobody else.
type stream struct {
	r     *Relay
	out   grpc.ServerStream
	ctx   context.Context
	token string

	state   atomic.Int32
	closing atomic.Bool
	ended   chan struct{} // closed when nothing is sent any more

	mu       sync.Mutex
	watchers []*watcher
	control  []*pb.WatchResponse // answers to be sent
	nextID   int64
	asked    int64 // progress is to be told when this revision is reached; 0: no
	pressing bool  // for that

	scratch []*watcher // the sender's
}

// States of a stream's sender.
const (
	idle    = iota
	running // there is one
	again   // and there is something new
	ended   // there will be none
)

// watch serves a Watch call.
func (r *Relay) watch(out grpc.ServerStream) error {
	st := &stream{r: r, out: out, ctx: out.Context(), token: tokenOf(out.Context()), ended: make(chan struct{})}
	r.m.streams.Inc()
	defer r.m.streams.Dec()
	defer st.close()
	for {
		m := new(pb.WatchRequest)
		err := out.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			<-st.ctx.Done() // as in etcd: who has asked for everything may still listen
			return rpctypes.ErrGRPCWatchCanceled
		}
		if err != nil {
			if st.ctx.Err() != nil {
				return rpctypes.ErrGRPCWatchCanceled
			}
			return err
		}
		if err := st.handle(m); err != nil {
			return err
		}
	}
}

// close returns when nothing refers to the call any more.
func (st *stream) close() {
	st.mu.Lock()
	ws := slices.Clone(st.watchers)
	st.watchers = nil
	st.mu.Unlock()
	for _, w := range ws {
		w.leave()
	}
	st.closing.Store(true)
	if st.state.CompareAndSwap(idle, ended) {
		return
	}
	st.wake()
	<-st.ended
}

// wake has the stream look for something to send.
func (st *stream) wake() {
	for {
		switch st.state.Load() {
		case idle:
			if st.state.CompareAndSwap(idle, running) {
				go st.pump() // ends when there is nothing to send
				return
			}
		case running:
			if st.state.CompareAndSwap(running, again) {
				return
			}
		default:
			return
		}
	}
}

func (st *stream) pump() {
	for {
		more, err := st.round()
		if err != nil || st.closing.Load() {
			st.state.Store(ended)
			close(st.ended)
			return
		}
		if more {
			continue
		}
		if st.state.CompareAndSwap(running, idle) {
			return
		}
		st.state.Store(running)
	}
}

// round sends what there is, at most one page for each watcher, and says
// whether there is more.
func (st *stream) round() (more bool, err error) {
	st.mu.Lock()
	control := st.control
	st.control = nil
	ws := append(st.scratch[:0], st.watchers...)
	st.scratch = ws[:0]
	asked := st.asked
	st.mu.Unlock()
	for _, m := range control {
		if err := st.out.SendMsg(m); err != nil {
			return false, err
		}
	}
	if len(ws) == 0 {
		return false, st.settle(asked) // etcd, too, says nothing when nobody watches
	}
	reached := asked
	for _, w := range ws {
		rev, left, err := w.deliver()
		if err != nil {
			return false, err
		}
		more = more || left
		reached = min(reached, rev)
	}
	clear(ws)
	if asked == 0 || reached < asked {
		return more, nil
	}
	if err := st.out.SendMsg(&pb.WatchResponse{Header: st.r.head(reached), WatchId: noWatch}); err != nil {
		return false, err
	}
	return more, st.settle(asked)
}

// settle notes that the question for progress is answered.
func (st *stream) settle(asked int64) error {
	st.mu.Lock()
	if st.asked == asked {
		st.asked = 0
	}
	st.mu.Unlock()
	return nil
}

func (st *stream) answer(m *pb.WatchResponse) {
	st.mu.Lock()
	st.control = append(st.control, m)
	st.mu.Unlock()
	st.wake()
}

func (st *stream) handle(m *pb.WatchRequest) error {
	switch u := m.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if u.CreateRequest != nil {
			return st.create(u.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		st.cancel(u.CancelRequest.GetWatchId())
	case *pb.WatchRequest_ProgressRequest:
		if u.ProgressRequest != nil {
			return st.progress()
		}
	}
	return nil
}

func (st *stream) watcher(id int64) *watcher {
	for _, w := range st.watchers {
		if w.id == id {
			return w
		}
	}
	return nil
}

func (st *stream) cancel(id int64) {
	st.mu.Lock()
	w := st.watcher(id)
	if w == nil {
		st.mu.Unlock()
		return
	}
	st.watchers = slices.DeleteFunc(st.watchers, func(o *watcher) bool { return o == w })
	st.mu.Unlock()
	rev := w.leave()
	st.answer(&pb.WatchResponse{Header: st.r.head(rev), WatchId: id, Canceled: true})
}

// progress has the stream answer when it is where the cluster is now.
func (st *stream) progress() error {
	st.mu.Lock()
	if len(st.watchers) == 0 {
		st.mu.Unlock()
		return nil
	}
	w := st.watchers[0]
	st.mu.Unlock()
	var rev int64
	err := persist(st.ctx, func() (err error) {
		rev, err = st.r.revision(st.ctx, w.feed.src.token, w.span.within(st.r.cfg.Namespace).key)
		return err
	})
	if err != nil {
		return nil // no answer: etcd, too, is silent when it does not know
	}
	st.mu.Lock()
	st.asked = max(st.asked, rev)
	pressing := st.pressing
	st.pressing = true
	st.mu.Unlock()
	st.wake()
	if !pressing {
		st.r.runs.Go(st.press) // ends when the question is answered, or with the stream
	}
	return nil
}

// press asks the cluster how far it is until the stream's watchers are there.
func (st *stream) press() {
	for d := 5 * time.Millisecond; ; d = min(2*d, longestPause) {
		st.mu.Lock()
		asked := st.asked
		st.pressing = asked > 0
		ws := slices.Clone(st.watchers)
		st.mu.Unlock()
		if asked == 0 || st.closing.Load() {
			return
		}
		feeds, useful := map[*feed]bool{}, map[*source]bool{}
		for _, w := range ws {
			s := w.feed.src
			if _, ok := useful[s]; !ok {
				useful[s] = s.ask(d / 2)
			}
			if !useful[s] && !feeds[w.feed] {
				feeds[w.feed] = true
				w.feed.reach(st.ctx, asked)
			}
		}
		st.wake()
		if !pause(st.ctx, d) || st.r.ctx.Err() != nil {
			return
		}
		st.wake()
	}
}
