// Package adapter is an etcd v3 server over a store of rows: etcd's gRPC
// services and JSON gateway, with etcd's meaning and etcd's errors. It does not
// know which store it is, nor what its clients keep there.
package adapter

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter/adapter/mvcc"
)

// Config of a server. Only Backend is required.
type Config struct {
	Backend mvcc.Backend // stays the caller's: Close does not close it
	Log     *slog.Logger // nil: nothing is logged
	TLS     *tls.Config  // nil: plain text

	// Advertise is the client URL that the member list shows; the address that
	// Serve listens on when empty.
	Advertise string
	// ProgressInterval is how often watchers that asked for it hear the
	// revision when nothing happens; 10 minutes, as in etcd, when 0.
	ProgressInterval time.Duration
	// Retention is how long old revisions are kept at least; 0: for ever.
	Retention time.Duration
	// MaxRequestBytes bounds one request; 10 MiB when 0.
	MaxRequestBytes int
	// MaxTxnOps bounds the operations of a transaction; 128 when 0.
	MaxTxnOps int
}

// Server answers etcd's services. The zero value is not usable: see New.
type Server struct {
	cfg             Config
	log             *slog.Logger
	db              mvcc.Backend
	hub             *hub
	stop            context.CancelFunc
	done            <-chan struct{} // closed when the server is closing
	runs            sync.WaitGroup  // the goroutines that New started
	cluster, member uint64
	known           known

	mu        sync.Mutex
	advertise string
}

// term is the raft term that all answers show: there is one leader, for ever.
const term = 2

// New starts following the store. Close ends that.
func New(c Config) (*Server, error) {
	if c.Backend == nil {
		return nil, errors.New("etcd adapter: no backend given")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	orDefault(&c.ProgressInterval, 10*time.Minute)
	orDefault(&c.MaxRequestBytes, 10<<20)
	orDefault(&c.MaxTxnOps, 128)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: c, log: c.Log, db: c.Backend, stop: cancel, done: ctx.Done(), advertise: c.Advertise}
	s.cluster, s.member = c.Backend.ID(), c.Backend.ID()^1
	st, err := s.state(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s.hub = newHub(st.Rev)
	s.runs.Go(func() { s.follow(ctx) })
	s.runs.Go(func() { s.expire(ctx) })
	if c.Retention > 0 {
		s.runs.Go(func() { s.forget(ctx) })
	}
	return s, nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Close ends all watches and returns when the server's goroutines have ended.
func (s *Server) Close() {
	s.stop()
	s.runs.Wait()
}

func (s *Server) header(rev int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: s.cluster, MemberId: s.member, RaftTerm: term, Revision: rev}
}

func (s *Server) state(ctx context.Context) (st mvcc.State, err error) {
	err = s.view(ctx, func(tx mvcc.Tx) error {
		st = tx.State()
		return nil
	})
	return st, err
}

func (s *Server) view(ctx context.Context, f func(mvcc.Tx) error) error {
	return s.fault(s.db.View(ctx, f))
}

// freeze is view for those who take long.
func (s *Server) freeze(ctx context.Context, f func(mvcc.Tx) error) error {
	return s.fault(s.db.Freeze(ctx, f))
}

// peek is view for those who need not know the newest: it works while the store
// is away, if the store can do that.
func (s *Server) peek(ctx context.Context, f func(mvcc.Tx) error) error {
	if l, ok := s.db.(mvcc.Local); ok {
		return s.fault(l.Peek(f))
	}
	return s.view(ctx, f)
}

// lately is view for watches, which stay open while the store is away: then what
// is known has to do.
func (s *Server) lately(ctx context.Context, f func(mvcc.Tx) error) error {
	err := s.view(ctx, f)
	if _, ok := s.db.(mvcc.Local); ok && status.Code(err) == codes.Unavailable {
		return s.peek(ctx, f)
	}
	return err
}

func (s *Server) update(ctx context.Context, f func(mvcc.WriteTx) error) error {
	return s.fault(s.db.Update(ctx, f))
}

// fault makes what a store says an error that etcd's clients understand.
func (s *Server) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCDeadlineExceeded
	case errors.Is(err, mvcc.ErrTooLarge):
		return rpctypes.ErrGRPCRequestTooLarge
	case errors.Is(err, mvcc.ErrNoSpace):
		return rpctypes.ErrGRPCNoSpace
	case errors.Is(err, mvcc.ErrTimeout):
		return rpctypes.ErrGRPCTimeout
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	s.log.Error("the store failed", "err", err)
	return status.Error(codes.Unavailable, "etcdserver: the store failed")
}

// pause waits, and says false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
