package relay

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/encoding/protowire"
)

// watcher is one of the watches of a stream. It belongs to the stream's sender,
// except what says otherwise.
type watcher struct {
	taste
	st   *stream
	id   int64
	next int64 // the first revision that was not looked at

	progress, fragment bool

	feed  *feed
	group *group
	slot  int   // in the group; guarded by the feed's mu
	lost  int64 // guarded by the feed's mu

	live  bool // was in the ring once: who falls out of it then has to load anew
	quiet bool // nothing was sent since the last tick
	tick  int64

	// What is not in the ring is fetched beside; guarded by the stream's mu.
	fetching bool
	old      []batch
	oldTo    int64
	compact  int64
	failed   string
}

// Why a watch was not made, in etcd's words.
const (
	reasonEmpty     = "mvcc: watcher range is empty"
	reasonDuplicate = "mvcc: duplicate watch ID provided on the WatchStream"
)

// create makes a watch, if the cluster allows it.
func (st *stream) create(c *pb.WatchCreateRequest) error {
	sp := watchSpan(c.Key, c.RangeEnd)
	in := sp.within(st.r.cfg.Namespace)
	refuse := func(rev int64, reason string) error {
		st.answer(&pb.WatchResponse{Header: st.r.head(rev), WatchId: noWatch, Created: true, Canceled: true, CancelReason: reason})
		return nil
	}
	var rev int64
	err := persist(st.ctx, func() error {
		if err := st.r.permitted(st.ctx, permission{st.token, in}); err != nil {
			return err
		}
		token := st.token
		if st.r.own != st.r.client {
			token = ""
		}
		var err error
		rev, err = st.r.revision(st.ctx, token, in.key)
		return err
	})
	if st.ctx.Err() != nil {
		return rpctypes.ErrGRPCWatchCanceled
	}
	switch {
	case c.StartRevision < 0:
		return refuse(rev, rpctypes.ErrCompacted.Error())
	case err != nil:
		return refuse(rev, err.Error())
	case sp.empty():
		return refuse(rev, reasonEmpty)
	}
	w := &watcher{st: st, taste: taste{span: sp, prev: c.PrevKv}, id: c.WatchId, next: c.StartRevision, progress: c.ProgressNotify, fragment: c.Fragment, quiet: true}
	for _, f := range c.Filters {
		w.noPut = w.noPut || f == pb.WatchCreateRequest_NOPUT
		w.noDelete = w.noDelete || f == pb.WatchCreateRequest_NODELETE
	}
	if w.next == 0 {
		w.next = rev + 1
	}
	if !st.name(w) {
		return refuse(rev, reasonDuplicate)
	}
	f := st.r.feed(st.token, sp, c.PrevKv, rev)
	f.join(w)
	f.release()
	st.r.m.watchers.Inc()
	st.mu.Lock()
	st.watchers = append(st.watchers, w)
	st.control = append(st.control, &pb.WatchResponse{Header: st.r.head(rev), WatchId: w.id, Created: true})
	st.mu.Unlock()
	st.wake()
	return nil
}

// name gives the watcher an id, unless it has one that is taken.
func (st *stream) name(w *watcher) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if w.id != 0 {
		return st.watcher(w.id) == nil
	}
	for st.watcher(st.nextID) != nil {
		st.nextID++
	}
	w.id = st.nextID
	st.nextID++
	return true
}

// leave ends the watcher; it returns how far it came.
func (w *watcher) leave() int64 {
	w.feed.leave(w)
	w.st.r.m.watchers.Dec()
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	return w.feed.rev
}

// end cancels the watcher from the relay's side.
func (w *watcher) end(m *pb.WatchResponse) error {
	st := w.st
	st.mu.Lock()
	known := slices.Contains(st.watchers, w)
	st.watchers = slices.DeleteFunc(st.watchers, func(o *watcher) bool { return o == w })
	st.mu.Unlock()
	if !known {
		return nil // the client was faster
	}
	m.Header, m.WatchId, m.Canceled = st.r.head(w.leave()), w.id, true
	return st.out.SendMsg(m)
}

// deliver sends what comes next, at most one page. It returns the revision up
// to which all is sent, and whether there is more already.
func (w *watcher) deliver() (rev int64, more bool, err error) {
	if p, ok := w.private(); ok {
		err := w.send(p)
		return w.next - 1, true, err
	}
	s := w.feed.look(w)
	switch {
	case s.failed != "":
		return 0, false, w.end(&pb.WatchResponse{CancelReason: s.failed})
	case s.lost:
		w.st.r.m.overflows.Inc()
		return 0, false, w.end(&pb.WatchResponse{CompactRevision: s.first})
	case s.behind && w.live:
		w.st.r.m.overflows.Inc()
		return 0, false, w.end(&pb.WatchResponse{CompactRevision: s.first})
	case s.behind:
		return w.next - 1, false, w.catchUp()
	case s.page == nil:
		w.live = true
		return s.rev, false, w.notify(s)
	}
	w.live = true
	if err := w.send(s.page); err != nil {
		return 0, false, err
	}
	if w.next <= s.rev {
		return w.next - 1, true, nil
	}
	return s.rev, false, w.notify(s)
}

// notify tells the revision to a watcher that wants to hear it and heard
// nothing since the last time.
func (w *watcher) notify(s state) error {
	if w.tick == s.ticks {
		return nil
	}
	w.tick = s.ticks
	tell := w.progress && w.quiet
	w.quiet = true
	if !tell {
		return nil
	}
	return w.st.out.SendMsg(&pb.WatchResponse{Header: w.st.r.head(s.rev), WatchId: w.id})
}

// private is the next page of what was fetched for this watcher alone.
func (w *watcher) private() (*page, bool) {
	w.st.mu.Lock()
	defer w.st.mu.Unlock()
	if w.old == nil {
		return nil, false
	}
	p := read(w.old, &w.taste, w.next, w.oldTo)
	if p.to == w.oldTo {
		w.old = nil
	}
	return p, true
}

// catchUp has what the ring has not be fetched, or says that it is gone.
func (w *watcher) catchUp() error {
	st := w.st
	st.mu.Lock()
	if w.compact > 0 || w.failed != "" {
		m := &pb.WatchResponse{CompactRevision: w.compact, CancelReason: w.failed}
		st.mu.Unlock()
		return w.end(m)
	}
	defer st.mu.Unlock()
	if !w.fetching {
		w.fetching = true
		from := w.next
		st.r.runs.Go(func() { w.fetch(from) }) // ends when the cluster answers, or with the stream
	}
	return nil
}

func (w *watcher) fetch(from int64) {
	var (
		bs          []batch
		to, compact int64
	)
	err := persist(w.st.ctx, func() (err error) {
		bs, to, compact, err = w.feed.fill(w.st.ctx, from)
		return err
	})
	if w.st.ctx.Err() != nil {
		return
	}
	w.st.mu.Lock()
	w.fetching = false
	if to > 0 {
		w.old, w.oldTo = append([]batch{}, bs...), to
	}
	w.compact = compact
	if err != nil {
		w.failed = err.Error()
	}
	w.st.mu.Unlock()
	w.st.wake()
}

// send sends a page; the events in it are encoded already.
func (w *watcher) send(p *page) error {
	w.next = p.to + 1
	if len(p.body) == 0 {
		return nil
	}
	w.quiet = false
	if !w.fragment || len(p.parts) == 1 {
		return w.st.out.SendMsg(newFrame(w.beginning(p.to, false), p.body))
	}
	begin := 0
	for _, end := range p.parts {
		if err := w.st.out.SendMsg(newFrame(w.beginning(p.to, end < len(p.body)), p.body[begin:end])); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// beginning is a watch response without its events, encoded.
func (w *watcher) beginning(rev int64, fragment bool) []byte {
	b := beginning(w.st.r.head(rev))
	if w.id != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(w.id))
	}
	if fragment {
		b = protowire.AppendTag(b, 7, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}
