package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/soheilhy/cmux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// sniffTimeout bounds how long a new connection may take to show what it speaks,
// with TLS including the handshake.
const sniffTimeout = 10 * time.Second

// idleTimeout is how long an HTTP connection may wait for its next request.
const idleTimeout = 2 * time.Minute

// grace is how long calls under way have when serving ends. Watches end with
// it: their clients go on elsewhere.
const grace = time.Second

// Buffers of a connection: many clients, each of which says little.
const (
	readBuffer  = 1 << 10
	writeBuffer = 16 << 10
)

// NewServer returns a gRPC server that answers for the relay.
func (r *Relay) NewServer(opts ...grpc.ServerOption) *grpc.Server {
	c := &r.cfg
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.UnknownServiceHandler(r.serve(r.handlers())),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(c.MaxSendBytes + 512<<10), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(c.MaxStreams),
		grpc.ReadBufferSize(readBuffer), grpc.WriteBufferSize(writeBuffer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.ClientMinPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.ClientPing, Timeout: c.ClientPingTimeout}),
	}, opts...)...)
}

// Serve answers gRPC, and HTTP for health and metrics, on l until ctx ends or l
// fails. It closes l.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	r.show(l)
	if r.cfg.TLS != nil {
		c := r.cfg.TLS.Clone()
		c.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, c)
	}
	g := r.NewServer()
	web := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: sniffTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)}
	m := cmux.New(l)
	m.SetReadTimeout(sniffTimeout)
	rpc, plain := m.Match(cmux.HTTP2()), m.Match(cmux.Any())
	registering, unregister := context.WithCancel(ctx)
	registered := make(chan struct{})
	go func() { defer close(registered); r.members.register(registering) }() // ends with registering
	ended := make(chan error, 3)
	for _, serve := range []func() error{
		func() error { return g.Serve(rpc) },
		func() error { return web.Serve(plain) },
		m.Serve,
	} {
		go func() { ended <- serve() }() // each ends by what comes below
	}
	var err error
	left := 3
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
	}
	unregister()
	<-registered
	force := time.AfterFunc(grace, g.Stop)
	g.GracefulStop()
	force.Stop()
	err = errors.Join(err, ignore(web.Close()), ignore(l.Close()))
	m.Close()
	for range left {
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ignore drops the error of what is closed already.
func ignore(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// show makes the listener's address the one that the member list shows, unless
// one was given.
func (r *Relay) show(l net.Listener) {
	r.members.mu.Lock()
	defer r.members.mu.Unlock()
	r.members.advertise = r.cfg.Advertise
	if r.members.advertise != "" {
		return
	}
	r.members.advertise = "http://" + l.Addr().String()
	if r.cfg.TLS != nil {
		r.members.advertise = "https://" + l.Addr().String()
	}
}

// tick makes watchers hear the revision at intervals; it ends with the relay.
func (r *Relay) tick() {
	for pause(r.ctx, r.cfg.ProgressInterval) {
		for _, s := range r.all() {
			s.ask(0)
		}
		if !pause(r.ctx, min(time.Second, r.cfg.ProgressInterval/2)) { // for the answer
			return
		}
		for _, s := range r.all() {
			s.mu.Lock()
			for _, f := range s.feeds {
				f.tick()
			}
			s.mu.Unlock()
		}
	}
}

func (r *Relay) all() []*source {
	r.mu.Lock()
	defer r.mu.Unlock()
	ss := make([]*source, 0, len(r.sources))
	for _, s := range r.sources {
		ss = append(ss, s)
	}
	return ss
}
