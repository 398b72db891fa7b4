package adapter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/mvcc"
)

// noWatch is the id in answers that are about no watcher, or about all.
const noWatch = -1

// fragmentBytes is how large a response may be before it is cut for watchers
// that allow that.
const fragmentBytes = 1536 << 10

type watch struct {
	pb.UnimplementedWatchServer
	s *Server
}

// watcher is one of the watches of a stream.
type watcher struct {
	id       int64
	span     mvcc.Span
	next     int64 // the first revision that was not looked at
	prev     bool
	progress bool
	fragment bool
	noPut    bool
	noDelete bool
	quiet    bool // nothing was sent since the last tick
}

// stream is one Watch call. It belongs to the goroutine of the call; only recv
// runs beside it.
type stream struct {
	s *Server
	pb.Watch_WatchServer
	watchers map[int64]*watcher
	nextID   int64
	asked    int64 // progress is to be told when this revision is reached; 0: no
}

// Watch serves a stream of watches. What is slow to read is sent when it is
// read: nothing piles up but what the store keeps anyway.
func (w watch) Watch(out pb.Watch_WatchServer) error {
	st := &stream{s: w.s, Watch_WatchServer: out, watchers: map[int64]*watcher{}}
	requests, failed := make(chan *pb.WatchRequest), make(chan error, 1)
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	go func() { failed <- receive(ctx, out, requests) }() // ends with the call, whose Recv fails then
	tick := time.NewTicker(w.s.cfg.ProgressInterval)
	defer tick.Stop()
	for {
		_, moved := w.s.hub.now()
		more, err := st.deliver()
		if err != nil {
			return err
		}
		var again chan struct{}
		if more {
			again = make(chan struct{})
			close(again)
		}
		select {
		case r := <-requests:
			err = st.handle(r)
		case <-tick.C:
			err = st.tick()
		case <-moved:
		case <-again:
		case err = <-failed:
			if err == nil { // no more requests; the watches stay
				failed = nil
				continue
			}
			return rpctypes.ErrGRPCWatchCanceled
		case <-ctx.Done():
			return rpctypes.ErrGRPCWatchCanceled
		case <-w.s.done:
			return rpctypes.ErrGRPCStopped
		}
		if err != nil {
			return err
		}
	}
}

func receive(ctx context.Context, in pb.Watch_WatchServer, to chan<- *pb.WatchRequest) error {
	for {
		r, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (st *stream) handle(r *pb.WatchRequest) error {
	switch u := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if u.CreateRequest != nil {
			return st.create(u.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		id := u.CancelRequest.GetWatchId()
		if st.watchers[id] == nil {
			return nil
		}
		delete(st.watchers, id)
		rev, _ := st.s.hub.now()
		return st.Send(&pb.WatchResponse{Header: st.s.header(rev), WatchId: id, Canceled: true})
	case *pb.WatchRequest_ProgressRequest:
		return st.s.lately(st.Context(), func(tx mvcc.Tx) error {
			st.asked = tx.State().Rev
			return nil
		})
	}
	return nil
}

// Why a watch was not made, in etcd's words.
const (
	reasonEmpty     = "mvcc: watcher range is empty"
	reasonDuplicate = "mvcc: duplicate watch ID provided on the WatchStream"
)

func (st *stream) create(r *pb.WatchCreateRequest) error {
	var now mvcc.State
	var denied error
	err := st.s.lately(st.Context(), func(tx mvcc.Tx) error {
		now = tx.State()
		c, err := st.s.caller(st.Context(), tx)
		switch {
		case err == nil:
			denied = c.mayRange(&pb.RangeRequest{Key: startKey(r), RangeEnd: r.RangeEnd})
		case status.Code(err) == codes.Unauthenticated:
			denied = err
		default:
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	resp := &pb.WatchResponse{Header: st.s.header(now.Rev), WatchId: noWatch, Created: true}
	if resp.CancelReason = st.refuse(r, denied); resp.CancelReason != "" {
		resp.Canceled = true
		return st.Send(resp)
	}
	w := &watcher{id: r.WatchId, next: r.StartRevision, prev: r.PrevKv, progress: r.ProgressNotify, fragment: r.Fragment, quiet: true}
	w.span = mvcc.NewSpan(startKey(r), r.RangeEnd)
	for _, f := range r.Filters {
		w.noPut = w.noPut || f == pb.WatchCreateRequest_NOPUT
		w.noDelete = w.noDelete || f == pb.WatchCreateRequest_NODELETE
	}
	if w.id == 0 {
		for st.watchers[st.nextID] != nil {
			st.nextID++
		}
		w.id = st.nextID
		st.nextID++
	}
	if w.next == 0 {
		w.next = now.Rev + 1
	}
	resp.WatchId = w.id
	if err := st.Send(resp); err != nil {
		return err
	}
	if w.next < now.Compact {
		return st.compacted(w, now.Compact)
	}
	st.watchers[w.id] = w
	return nil
}

// startKey is the smallest key when none is given.
func startKey(r *pb.WatchCreateRequest) []byte {
	if len(r.Key) == 0 {
		return []byte{0}
	}
	return r.Key
}

func (st *stream) refuse(r *pb.WatchCreateRequest, denied error) string {
	open := len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0
	switch {
	case r.StartRevision < 0:
		return rpctypes.ErrCompacted.Error()
	case denied != nil:
		return denied.Error()
	case len(r.RangeEnd) > 0 && !open && bytes.Compare(startKey(r), r.RangeEnd) >= 0:
		return reasonEmpty
	case r.WatchId != 0 && st.watchers[r.WatchId] != nil:
		return reasonDuplicate
	}
	return ""
}

func (st *stream) compacted(w *watcher, rev int64) error {
	delete(st.watchers, w.id)
	return st.Send(&pb.WatchResponse{Header: st.s.header(0), WatchId: w.id, Canceled: true, CompactRevision: rev})
}

// deliver sends each watcher at most one page of what is new. It says whether
// there is more.
func (st *stream) deliver() (more bool, err error) {
	rev, _ := st.s.hub.now()
	for _, w := range st.watchers {
		if w.next > rev {
			continue
		}
		rows, to, ok := st.s.hub.since(w.next - 1)
		if !ok {
			var compact int64
			rows, to, compact, err = st.s.past(st.Context(), w)
			if err != nil {
				return false, err
			}
			if compact > 0 {
				if err := st.compacted(w, compact); err != nil {
					return false, err
				}
				continue
			}
		}
		if err := st.send(w, rows, to); err != nil {
			return false, err
		}
		w.next = to + 1
		more = more || to < rev
	}
	if st.asked > 0 && !more && rev >= st.asked {
		st.asked = 0
		if st.progressive(rev) {
			return more, st.Send(&pb.WatchResponse{Header: st.s.header(rev), WatchId: noWatch})
		}
	}
	return more, nil
}

// progressive says whether there is progress to tell at a revision. etcd says
// nothing when nobody watches, or while somebody waits for a later revision.
func (st *stream) progressive(rev int64) bool {
	for _, w := range st.watchers {
		if w.next > rev+1 {
			return false
		}
	}
	return len(st.watchers) > 0
}

// past reads a page of what the watcher has not seen from the store. compact
// is not 0 when that is no longer known.
func (s *Server) past(ctx context.Context, w *watcher) (rows []mvcc.Row, to, compact int64, err error) {
	err = s.peek(ctx, func(tx mvcc.Tx) error {
		st := tx.State()
		if w.next < st.Compact {
			compact = st.Compact
			return nil
		}
		rows, err = tx.Since(w.next - 1)
		to = reached(rows, st)
		return err
	})
	return rows, to, compact, err
}

// send tells the watcher about those of the rows that it wants to know.
func (st *stream) send(w *watcher, rows []mvcc.Row, to int64) error {
	resp := &pb.WatchResponse{Header: st.s.header(to), WatchId: w.id}
	for i := range rows {
		r := &rows[i]
		if !w.span.Has(r.Key) || r.Deleted && w.noDelete || !r.Deleted && w.noPut {
			continue
		}
		e := &mvccpb.Event{Kv: pair(r)}
		if r.Deleted {
			e.Type = mvccpb.Event_DELETE
		}
		resp.Events = append(resp.Events, e)
	}
	if len(resp.Events) == 0 {
		return nil
	}
	w.quiet = false
	if w.prev {
		if err := st.s.before(st.Context(), resp.Events); err != nil {
			return err
		}
	}
	if w.fragment {
		return st.fragments(resp)
	}
	return st.Send(resp)
}

// before fills in what the keys were before the events, where that is known.
func (s *Server) before(ctx context.Context, events []*mvccpb.Event) error {
	return s.peek(ctx, func(tx mvcc.Tx) error {
		compact := tx.State().Compact
		for _, e := range events {
			rev := e.Kv.ModRevision - 1
			if rev < compact || e.Type == mvccpb.Event_PUT && e.Kv.CreateRevision == e.Kv.ModRevision {
				continue
			}
			rows, err := tx.Range(mvcc.NewSpan(e.Kv.Key, nil), rev, 1, true)
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				e.PrevKv = pair(&rows[0])
			}
		}
		return nil
	})
}

// fragments sends a large response in parts; all but the last say so.
func (st *stream) fragments(whole *pb.WatchResponse) error {
	for events := whole.Events; ; {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size+proto.Size(events[n]) < fragmentBytes) {
			size += proto.Size(events[n])
			n++
		}
		part := &pb.WatchResponse{Header: whole.Header, WatchId: whole.WatchId, Events: events[:n], Fragment: n < len(events)}
		if err := st.Send(part); err != nil || !part.Fragment {
			return err
		}
		events = events[n:]
	}
}

// tick tells the revision to the watchers that want to hear it and heard
// nothing since the last time.
func (st *stream) tick() error {
	rev, _ := st.s.hub.now()
	for _, w := range st.watchers {
		if w.progress && w.quiet && w.next > rev {
			if err := st.Send(&pb.WatchResponse{Header: st.s.header(rev), WatchId: w.id}); err != nil {
				return err
			}
		}
		w.quiet = true
	}
	return nil
}
