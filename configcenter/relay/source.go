package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// source is the watch stream of one identity in the cluster. All feeds of that
// identity are watches of this stream; when it ends another one goes on where
// it stopped, and nobody notices.
type source struct {
	r      *Relay
	token  string // of the clients; empty: the relay's own
	client *clientv3.Client
	cancel context.CancelFunc

	mu    sync.Mutex
	feeds map[feedKey]*feed
	wide  []*feed // those of more than one key
	up    *upstream
	asked time.Time
	// cluster is the id of the one that the feeds' revisions are of; 0: none yet.
	cluster uint64
}

type feedKey struct {
	span span
	prev bool
}

// upstream is an open stream of a source. Guarded by the source's mu, except
// what says otherwise.
type upstream struct {
	pending []*upfeed // created, not answered yet; in order
	byID    map[int64]*upfeed
	asked   int // for progress
	heard   int
	checked bool

	made       bool // a watch
	overtaking bool // answers about progress may come before events: they do not count

	outbox []*pb.WatchRequest
	signal chan struct{} // something is in the outbox
}

// upfeed is a feed on a stream.
type upfeed struct {
	*feed
	asked int // how often progress had been asked for when it was created
	skip  int // answers about progress that may be from before
	live  bool
	parts []*mvccpb.Event // of a response that is not complete
}

// source returns the source for a client; the caller holds the relay's mu.
func (r *Relay) source(token string) *source {
	if r.own != r.client {
		token = ""
	}
	if s := r.sources[token]; s != nil {
		return s
	}
	ctx, cancel := context.WithCancel(r.ctx)
	s := &source{r: r, token: token, client: r.own, cancel: cancel, feeds: map[feedKey]*feed{}}
	r.sources[token] = s
	r.runs.Go(func() { s.run(ctx) }) // ends when the sweep finds no feeds
	return s
}

// feed returns a feed that covers the span, held until release; rev is where a
// new one begins.
func (r *Relay) feed(token string, sp span, prev bool, rev int64) *feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.source(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(sp, prev)
	if f == nil {
		if failed := s.feeds[feedKey{sp, prev}]; failed != nil {
			s.remove(failed)
		}
		f = newFeed(s, sp, prev, rev)
		s.feeds[feedKey{sp, prev}] = f
		if !sp.one() {
			s.wide = append(s.wide, f)
		}
		if s.up != nil {
			s.up.create(f)
		}
		r.m.feeds.Inc()
	}
	f.mu.Lock()
	f.held++
	f.mu.Unlock()
	return f
}

func (f *feed) release() {
	f.mu.Lock()
	f.held--
	f.idle = time.Now()
	f.mu.Unlock()
}

func (s *source) find(sp span, prev bool) *feed {
	for _, f := range []*feed{s.feeds[feedKey{sp, prev}], s.feeds[feedKey{sp, true}]} {
		if f.usable() {
			return f
		}
	}
	for _, f := range s.wide {
		if (f.prev || !prev) && f.span.covers(sp) && f.usable() {
			return f
		}
	}
	return nil
}

func (f *feed) usable() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed == ""
}

// followed says whether the cluster tells the feed what happens.
func (f *feed) followed() bool {
	f.src.mu.Lock()
	defer f.src.mu.Unlock()
	return f.src.up != nil && f.src.up.byID[f.id] != nil
}

// linger is how long a feed without members is kept: a client that reconnects
// finds what it missed.
const linger = 30 * time.Second

// sweep ends feeds that nobody uses, and says whether none is left.
func (s *source) sweep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		f.mu.Lock()
		used := f.members+f.held > 0 || f.failed == "" && time.Since(f.idle) < linger
		f.mu.Unlock()
		if !used {
			s.remove(f)
		}
	}
	return len(s.feeds) == 0
}

// remove ends a feed; watchers that it still has are those of a failed one.
func (s *source) remove(f *feed) {
	f.close()
	delete(s.feeds, feedKey{f.span, f.prev})
	s.wide = slices.DeleteFunc(s.wide, func(o *feed) bool { return o == f })
	if s.up != nil {
		s.up.drop(f)
	}
	s.r.m.feeds.Dec()
}

func (u *upstream) send(q *pb.WatchRequest) {
	u.outbox = append(u.outbox, q)
	select {
	case u.signal <- struct{}{}:
	default:
	}
}

func (u *upstream) create(f *feed) {
	uf := &upfeed{feed: f, asked: u.asked}
	u.pending = append(u.pending, uf)
	u.send(f.create())
}

func (u *upstream) drop(f *feed) {
	delete(u.byID, f.id)
	u.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: f.id}}})
}

// run keeps a stream open until ctx ends.
func (s *source) run(ctx context.Context) {
	var b backoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		s.r.m.resumes.Inc()
		s.r.log.Warn("the watch in the cluster has ended, going on with another", "err", err)
		if time.Since(begun) > longestPause {
			b = backoff{}
		}
		b.pause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		f.close()
		s.r.m.feeds.Dec()
	}
	s.feeds, s.wide = map[feedKey]*feed{}, nil
}

// follow is one stream.
func (s *source) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(requireLeader(s.r.identity(ctx, s.token)))
	defer cancel()
	out, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(ctx)
	if err != nil {
		return err
	}
	u := &upstream{byID: map[int64]*upfeed{}, signal: make(chan struct{}, 1)}
	s.mu.Lock()
	s.up = u
	u.send(progressRequest()) // see overtaking
	for _, f := range s.feeds {
		if f.usable() {
			u.create(f)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.up = nil
		s.mu.Unlock()
	}()
	s.r.runs.Go(func() { s.deliver(ctx, u, out) }) // ends with ctx
	for {
		m, err := out.Recv()
		if err != nil {
			return err
		}
		s.r.note(m.Header)
		if err := s.take(ctx, u, m); err != nil {
			return err
		}
	}
}

// deliver sends what is in the outbox: sending may block.
func (s *source) deliver(ctx context.Context, u *upstream, out pb.Watch_WatchClient) {
	for {
		select {
		case <-u.signal:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		todo := u.outbox
		u.outbox = nil
		s.mu.Unlock()
		for _, q := range todo {
			if out.Send(q) != nil {
				return // Recv tells why
			}
		}
	}
}

// take handles one response.
func (s *source) take(ctx context.Context, u *upstream, m *pb.WatchResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Created {
		return s.created(ctx, u, m)
	}
	if m.WatchId == noWatch && !m.Canceled && len(m.Events) == 0 {
		if u.overtakes() {
			return nil
		}
		u.heard++
		for _, f := range u.byID {
			if f.skip > 0 {
				f.skip--
			} else {
				f.progress(m.Header.Revision)
			}
		}
		return nil
	}
	f := u.byID[m.WatchId]
	if f == nil {
		return nil // dropped
	}
	if m.Canceled {
		return s.canceled(u, f, m)
	}
	f.skip = 0 // what was asked before has been answered before this
	if len(m.Events) == 0 && !m.Fragment && len(f.parts) == 0 {
		f.progress(m.Header.Revision)
		return nil
	}
	f.parts = append(f.parts, m.Events...)
	if m.Fragment {
		return nil
	}
	bs, err := encode(f.parts, s.r.cfg.Namespace)
	f.parts = nil
	s.r.m.events.Add(float64(len(bs)))
	f.add(bs)
	return err
}

// created takes that a watch was made, or why not.
func (s *source) created(ctx context.Context, u *upstream, m *pb.WatchResponse) error {
	if len(u.pending) == 0 {
		return nil
	}
	f := u.pending[0]
	u.pending = u.pending[1:]
	u.made = u.made || !m.Canceled
	if s.feeds[feedKey{f.span, f.prev}] != f.feed {
		return nil // dropped meanwhile
	}
	if m.Canceled {
		return s.refused(f, m)
	}
	f.live, f.skip = true, max(0, f.asked-u.heard)
	u.byID[f.id] = f
	f.mu.Lock()
	rev := f.rev
	f.mu.Unlock()
	cluster := cmp.Or(m.Header.ClusterId, s.cluster)
	s.cluster = cmp.Or(s.cluster, cluster)
	if (m.Header.Revision < rev || cluster != s.cluster) && !u.checked {
		u.checked = true
		key := f.span.within(s.r.cfg.Namespace).key
		s.r.runs.Go(func() { s.regress(ctx, key, rev, cluster) }) // ends when the cluster answers or ctx ends
	}
	return nil
}

// regress finds out whether the cluster went back behind what is known, or is
// another one, as after it was restored from a backup.
func (s *source) regress(ctx context.Context, key string, known int64, cluster uint64) {
	var now int64
	err := persist(ctx, func() (err error) {
		now, err = s.r.revision(ctx, s.token, key)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || now >= known && cluster == s.cluster {
		return // the member was behind, not the cluster
	}
	s.cluster = cluster
	s.r.log.Error("the cluster went back to an older state or is another one, all watchers must load it anew", "rev", now, "known", known)
	for _, f := range s.feeds {
		f.compacted(now+1, true)
		if s.up != nil {
			s.up.drop(f)
			s.up.create(f)
		}
	}
}

// refused ends what the cluster does not allow. The relay itself gets a new
// token with a new stream.
func (s *source) refused(f *upfeed, m *pb.WatchResponse) error {
	if err := s.refusal(m.CancelReason); passing(err) {
		return err
	}
	s.r.log.Warn("the cluster refused a watch", "reason", m.CancelReason, "key", f.span.key)
	f.fail(m.CancelReason)
	return nil
}

// refusal is a reason as an error. That the relay's own token has expired
// passes: the next stream has a new one.
func (s *source) refusal(reason string) error {
	code := codes.PermissionDenied
	if s.client != s.r.client && reason != rpctypes.ErrGRPCPermissionDenied.Error() {
		code = codes.Unavailable
	}
	return &refusal{code, reason}
}

type refusal struct {
	code   codes.Code
	reason string // in etcd's words
}

func (e *refusal) Error() string              { return e.reason }
func (e *refusal) GRPCStatus() *status.Status { return status.New(e.code, e.reason) }

// canceled takes that a watch has ended: its revisions are gone, or it is no
// longer allowed.
func (s *source) canceled(u *upstream, f *upfeed, m *pb.WatchResponse) error {
	delete(u.byID, f.id)
	if m.CompactRevision > 0 {
		f.compacted(m.CompactRevision, false)
		u.create(f.feed)
		return nil
	}
	return s.refused(f, m)
}
