// Package relay is an etcd v3 server in front of an etcd cluster: it carries
// what its clients ask to the cluster, and what the cluster says to many of
// them from one watch. It keeps nothing but what it can ask for again, and does
// not know what its clients keep in etcd.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
)

// Config of a relay. Only Endpoints is required.
type Config struct {
	Endpoints []string     // of the cluster: host:port, or URLs
	Log       *slog.Logger // nil: nothing is logged

	UpstreamTLS *tls.Config // towards the cluster; nil: plain text
	TLS         *tls.Config // towards the clients; nil: plain text

	// User is who the relay itself is in a cluster with users. It follows the
	// ranges that clients watch; each client must be allowed to read them
	// itself. Without a User clients with the same token share their watches.
	User, Password string

	// Namespace is put in front of every key; clients do not see it.
	Namespace string

	// Advertise is the URL that the member list shows; the address that Serve
	// listens on when empty. With ResolverPrefix the relay registers it there,
	// for ResolverTTL seconds at a time, and the member list shows all relays
	// that did.
	Advertise      string
	ResolverPrefix string
	ResolverTTL    int

	// SyncInterval is how often the endpoints are asked from the cluster; 0: never.
	SyncInterval time.Duration
	// DialKeepAlive is how often a silent connection to the cluster is probed, and
	// DialKeepAliveTimeout how long the answer may take; 10 s and 5 s when 0.
	DialKeepAlive, DialKeepAliveTimeout time.Duration
	// PermitWithoutStream probes connections without requests too.
	PermitWithoutStream bool
	// MaxSendBytes and MaxRecvBytes bound a message to and from the cluster; 10
	// MiB and no limit when 0.
	MaxSendBytes, MaxRecvBytes int

	// ClientMinPing is how often clients may probe their connection; 5 s when 0.
	// ClientPing and ClientPingTimeout are how often the relay probes theirs, and
	// how long the answer may take; 1 minute and 20 s when 0.
	ClientMinPing, ClientPing, ClientPingTimeout time.Duration
	// MaxStreams bounds the streams of one client connection; 0: no limit.
	MaxStreams uint32

	// ProgressInterval is how often watchers that asked for it hear the
	// revision when nothing happens; 10 minutes, as in etcd, when 0.
	ProgressInterval time.Duration
	// RingEvents and RingBytes bound the history that is kept for each watched
	// range; 16384 and 32 MiB when 0. A watcher that falls behind them is
	// cancelled as compacted.
	RingEvents, RingBytes int
	// Ordered makes serializable reads never go back behind a revision that the
	// relay has seen.
	Ordered bool
	// Profile adds /debug/pprof/ to the Handler.
	Profile bool
}

// Relay answers etcd's services. The zero value is not usable: see New.
type Relay struct {
	cfg    Config
	log    *slog.Logger
	client *clientv3.Client // carries the clients' calls, with their tokens
	own    *clientv3.Client // the relay's own calls; client when there is no User
	ctx    context.Context  // ends with Close
	stop   context.CancelFunc
	runs   sync.WaitGroup
	ids    atomic.Int64 // of feeds
	header atomic.Pointer[pb.ResponseHeader]
	m      *metrics

	fetching  chan struct{} // holds a token for each look into the past
	revisions asker[reader, int64]
	permits   asker[permission, bool]
	cache     *cache
	renewals  renewals
	members   members

	mu      sync.Mutex
	sources map[string]*source // by token
}

// fetches is how many looks into the past the cluster has to answer at a time.
const fetches = 2

// New makes a relay. It does not wait for the cluster, except to log in when
// there is a User. Close ends it.
func New(c Config) (*Relay, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Relay{cfg: c, log: c.Log, ctx: ctx, stop: cancel, sources: map[string]*source{},
		fetching: make(chan struct{}, fetches), m: newMetrics()}
	r.cache = newCache(r)
	r.renewals.r = r
	r.members.r = r
	var err error
	if r.client, err = c.dial(ctx, "", ""); err != nil {
		cancel()
		return nil, err
	}
	r.own = r.client
	if c.User != "" {
		if r.own, err = c.dial(ctx, c.User, c.Password); err != nil {
			cancel()
			return nil, errors.Join(err, r.client.Close())
		}
	}
	r.runs.Go(r.sweep)
	r.runs.Go(r.tick)
	return r, nil
}

func (c *Config) complete() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcd relay: no endpoints given")
	}
	for _, e := range c.Endpoints {
		if strings.TrimSpace(e) == "" {
			return fmt.Errorf("etcd relay: endpoints %q: one is empty", c.Endpoints)
		}
	}
	if (c.ResolverPrefix == "") != (c.ResolverTTL == 0) || c.ResolverTTL < 0 {
		return fmt.Errorf("etcd relay: resolver prefix %q and resolver TTL %d: both or neither must be given", c.ResolverPrefix, c.ResolverTTL)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.DialKeepAlive, 10 * time.Second}, {&c.DialKeepAliveTimeout, 5 * time.Second}, {&c.ClientMinPing, 5 * time.Second},
		{&c.ClientPing, time.Minute}, {&c.ClientPingTimeout, 20 * time.Second}, {&c.ProgressInterval, 10 * time.Minute},
	} {
		orDefault(d.v, d.def)
	}
	orDefault(&c.MaxSendBytes, 10<<20)
	orDefault(&c.MaxRecvBytes, math.MaxInt32)
	orDefault(&c.MaxStreams, math.MaxUint32)
	orDefault(&c.RingEvents, 16384)
	orDefault(&c.RingBytes, 32<<20)
	return nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// dialTimeout bounds a connection to the cluster, and the login over it.
const dialTimeout = 5 * time.Second

// dial makes a client of the cluster.
func (c *Config) dial(ctx context.Context, user, password string) (*clientv3.Client, error) {
	cl, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: c.Endpoints, TLS: c.UpstreamTLS, Username: user, Password: password, Logger: zap.NewNop(),
		AutoSyncInterval: c.SyncInterval, DialTimeout: dialTimeout, DialKeepAliveTime: c.DialKeepAlive,
		DialKeepAliveTimeout: c.DialKeepAliveTimeout, PermitWithoutStream: c.PermitWithoutStream,
		MaxCallSendMsgSize: c.MaxSendBytes, MaxCallRecvMsgSize: c.MaxRecvBytes,
		DialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(c.MaxSendBytes), grpc.MaxCallRecvMsgSize(c.MaxRecvBytes)),
			// Without this gRPC waits up to two minutes before it tries again.
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: dialTimeout,
				Backoff: grpcbackoff.Config{BaseDelay: shortestPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause}}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("etcd relay: endpoints %q: %w", c.Endpoints, err)
	}
	return cl, nil
}

// inside is the relay's own client as seen by the relay's clients: within the
// namespace.
func (r *Relay) inside() *clientv3.Client {
	if r.cfg.Namespace == "" {
		return r.own
	}
	c := clientv3.NewCtxClient(r.ctx)
	c.KV = namespace.NewKV(r.own.KV, r.cfg.Namespace)
	c.Watcher = namespace.NewWatcher(r.own.Watcher, r.cfg.Namespace)
	c.Lease = namespace.NewLease(r.own.Lease, r.cfg.Namespace)
	return c
}

// Close ends everything and returns when the relay's goroutines have ended. What
// Serve serves must have ended before.
func (r *Relay) Close() error {
	r.stop()
	r.runs.Wait()
	err := r.client.Close()
	if r.own != r.client {
		err = errors.Join(err, r.own.Close())
	}
	if errors.Is(err, context.Canceled) {
		return nil // that is how clients end whose context has ended
	}
	return err
}

// head is what answers that the relay makes itself begin with.
func (r *Relay) head(rev int64) *pb.ResponseHeader {
	h := &pb.ResponseHeader{Revision: rev}
	if last := r.header.Load(); last != nil {
		h.ClusterId, h.MemberId, h.RaftTerm = last.ClusterId, last.MemberId, last.RaftTerm
	}
	return h
}

// note remembers who the cluster is.
func (r *Relay) note(h *pb.ResponseHeader) {
	last := r.header.Load()
	if h == nil || last != nil && last.ClusterId == h.ClusterId && last.MemberId == h.MemberId && last.RaftTerm == h.RaftTerm {
		return
	}
	r.header.Store(h)
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

// backoff is ever longer pauses.
type backoff struct{ next time.Duration }

const (
	shortestPause = 20 * time.Millisecond
	longestPause  = time.Second
)

func (b *backoff) pause(ctx context.Context) bool {
	d := max(b.next, shortestPause)
	b.next = min(2*d, longestPause)
	return pause(ctx, d)
}

// sweepEvery is how often what nobody uses is looked for.
const sweepEvery = 5 * time.Second

// sweep drops what nobody has used for a while; it ends with the relay.
func (r *Relay) sweep() {
	for pause(r.ctx, sweepEvery) {
		r.cache.sweep()
		r.mu.Lock()
		for token, s := range r.sources {
			if s.sweep() {
				s.cancel()
				delete(r.sources, token)
			}
		}
		r.mu.Unlock()
	}
}
