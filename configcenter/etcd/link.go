package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// link is one connection to one endpoint of the cluster at a time. Its owner
// leaves an endpoint that does not do; the next use takes the next one. Every
// new connection logs in and reads the certificates anew, so that neither an
// expired token, a rotated password nor a renewed certificate needs a restart.
//
// The client library's own balancing would hold a connection to every endpoint
// and come back to one that answers but has lost its cluster.
type link struct {
	c         *Center
	patient   bool     // waits for an endpoint as long as a request may take
	endpoints []string // in an order of this link's own, so that a fleet spreads

	turn   chan struct{} // held while a connection is made
	mu     sync.Mutex    // guards what follows
	at     int           // place of the current endpoint
	lease  *lease        // nil: not connected
	closed bool
}

// lease is a client with those who use it: a client that was left is closed
// when the last of them has ended.
type lease struct {
	*clientv3.Client
	users int
	left  bool
}

var errClosed = errors.New("etcd: closed")

func (c *Center) newLink() *link {
	l := &link{c: c, endpoints: slices.Clone(c.cfg.Endpoints), turn: make(chan struct{}, 1)}
	rand.Shuffle(len(l.endpoints), func(i, j int) { l.endpoints[i], l.endpoints[j] = l.endpoints[j], l.endpoints[i] })
	return l
}

// close ends the connection; requests under way fail.
func (l *link) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.lease == nil {
		return nil
	}
	cl := l.lease
	l.lease = nil
	cl.left = true
	return cl.Close()
}

// use returns a client whose endpoint answers, trying each endpoint once or,
// patient, until ctx ends. It is given back with done.
func (l *link) use(ctx context.Context) (*lease, error) {
	var last error
	for wait := firstPause; ; wait = min(2*wait, time.Second) {
		cl, err := l.round(ctx)
		if err != nil && ctx.Err() != nil && last != nil {
			return nil, last // it says more than that time is over
		}
		away := status.Code(err) == codes.Unavailable || errors.Is(err, context.DeadlineExceeded)
		if err == nil || !l.patient || !away || !pause(ctx, wait) {
			return cl, err
		}
		last = err
	}
}

// round tries each endpoint once.
func (l *link) round(ctx context.Context) (*lease, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var err error
	for range l.endpoints {
		var cl *lease
		if cl, err = l.connected(ctx); err == nil {
			return cl, nil
		}
		if errors.Is(err, errClosed) || ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

// connected returns the current client, or a new one of the current endpoint.
func (l *link) connected(ctx context.Context) (*lease, error) {
	l.mu.Lock()
	cl, at, closed := l.lease, l.at, l.closed
	if cl != nil {
		cl.users++
	}
	l.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	endpoint := l.endpoints[at]
	if cl == nil {
		client, err := l.c.dial(ctx, endpoint)
		if err != nil {
			l.next(at)
			return nil, err
		}
		if cl, err = l.install(client); err != nil {
			return nil, err
		}
	}
	if cl.ActiveConnection().GetState() == connectivity.Ready {
		return cl, nil
	}
	if err := l.c.probe(ctx, cl.Client); err != nil {
		l.done(cl)
		l.leave(cl)
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	return cl, nil
}

func (l *link) install(client *clientv3.Client) (*lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = client.Close()
		return nil, errClosed
	}
	l.lease = &lease{Client: client, users: 1}
	return l.lease, nil
}

func (l *link) next(at int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == at {
		l.at = (at + 1) % len(l.endpoints)
	}
}

// done ends what use began.
func (l *link) done(cl *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl.users--
	l.dismiss(cl)
}

// leave makes the next use take another endpoint than cl's.
func (l *link) leave(cl *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease != cl {
		return // somebody did so before
	}
	l.lease, cl.left = nil, true
	l.at = (l.at + 1) % len(l.endpoints)
	l.dismiss(cl)
}

func (l *link) dismiss(cl *lease) {
	if cl.left && cl.users == 0 {
		_ = cl.Close() // which also says that it was closed before
	}
}

// leaves reports whether an error speaks against the endpoint or the login
// rather than against the request.
func leaves(err error) bool {
	for _, e := range []error{rpctypes.ErrNoLeader, rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken,
		rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty, rpctypes.ErrStopped, rpctypes.ErrTimeoutDueToLeaderFail,
		rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrNotLeader, rpctypes.ErrMemberNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	c := status.Code(err)
	return c == codes.Unavailable || c == codes.Unauthenticated || errors.Is(err, rpctypes.ErrTimeout)
}

// dial makes a client of one endpoint. With a user it logs in, which is what
// can fail here.
func (c *Center) dial(ctx context.Context, endpoint string) (*clientv3.Client, error) {
	conf := clientv3.Config{
		Endpoints:            []string{endpoint},
		Username:             c.cfg.User,
		DialTimeout:          c.cfg.HealthTimeout, // of a login, which a busy server may let wait
		DialKeepAliveTime:    c.cfg.HealthTimeout,
		DialKeepAliveTimeout: c.cfg.HealthTimeout,
		MaxCallSendMsgSize:   math.MaxInt32,
		MaxCallRecvMsgSize:   math.MaxInt32,
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// Without this gRPC waits up to two minutes before it tries again.
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: c.cfg.ResyncDelay},
			MinConnectTimeout: min(c.cfg.HealthTimeout, connectTime),
		}), grpc.WithChainUnaryInterceptor(failFast)},
		MaxUnaryRetries: 1, // the link tries again, elsewhere
	}
	if c.cfg.TLS != nil {
		t, err := c.cfg.TLS()
		if err != nil {
			return nil, err
		}
		conf.TLS = t
		if t.ServerName != "" {
			// The client library would ask for the endpoint's name instead.
			conf.DialOptions = append(conf.DialOptions, grpc.WithAuthority(t.ServerName))
		}
	}
	var err error
	if conf.Password, err = c.password(); err != nil {
		return nil, err
	}
	// The login ends with ctx, the client does not.
	life, end := context.WithCancel(context.Background())
	conf.Context = life
	stop := context.AfterFunc(ctx, end)
	client, err := clientv3.New(conf)
	if !stop() && err == nil {
		_ = client.Close()
		err = ctx.Err()
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("etcd %s: %w", endpoint, err)
	}
	return client, nil
}

// failFast undoes two habits of the client library. It lets requests wait until
// the endpoint is back, but there may be others. And when a token has expired it
// logs in again showing that token, which servers refuse, so that it hangs: a
// new connection logs in without one.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, append(slices.Clone(opts), grpc.WaitForReady(false))...)
	for _, e := range []error{rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty} {
		if err != nil && errors.Is(rpctypes.Error(err), e) {
			return status.Error(codes.Unauthenticated, "login ended: "+e.Error())
		}
	}
	return err
}

// password is the configured one, or what its file says now.
func (c *Center) password() (string, error) {
	if c.cfg.PasswordFile == "" {
		return c.cfg.Password, nil
	}
	text, err := os.ReadFile(c.cfg.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("etcd password: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// connectTime bounds a connection and the first answer over it: an endpoint that
// is back should not be waited for as if it were still gone.
const connectTime = 3 * time.Second

// probe asks for the endpoint's state without waiting for a connection to come
// up: its error says why there is none.
func (c *Center) probe(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, min(c.cfg.HealthTimeout, connectTime))
	defer cancel()
	_, err := etcdserverpb.NewMaintenanceClient(client.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	}
	return nil // somebody is there, even if the question is not allowed
}

// write runs one request over l with its time limit; the error says what was
// tried. It runs once: whether a write that was cut off was done, nobody knows.
func (c *Center) write(ctx context.Context, l *link, what string, f func(context.Context, *clientv3.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	err := c.try(limited, l, f)
	if status.Code(err) == codes.Unauthenticated { // it was refused at the door
		err = c.try(limited, l, f)
	}
	if err != nil {
		return fmt.Errorf("etcd %s: %w", what, err)
	}
	return nil
}

// ask is write for what may be repeated: an endpoint that fails is left for the
// next, and a login that does not hold is tried anew, while there is time.
func (c *Center) ask(ctx context.Context, l *link, what string, f func(context.Context, *clientv3.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var err error
	for range len(l.endpoints) + 1 {
		if err = c.try(limited, l, f); err == nil || !leaves(err) || limited.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("etcd %s: %w", what, err)
	}
	return nil
}

func (c *Center) try(ctx context.Context, l *link, f func(context.Context, *clientv3.Client) error) error {
	cl, err := l.use(ctx)
	if err != nil {
		return err
	}
	defer l.done(cl)
	err = f(ctx, cl.Client)
	switch {
	case err == nil:
	case leaves(err):
		l.leave(cl)
	case errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded:
		// A slow request, or nobody there? The caller's time is over, not ours.
		probing, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.cfg.HealthTimeout, patience))
		defer cancel()
		if cause := c.probe(probing, cl.Client); cause != nil {
			l.leave(cl)
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	return err
}

// patience bounds the question whether a connection that timed out still lives.
const patience = time.Second
