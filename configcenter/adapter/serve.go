package adapter

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/soheilhy/cmux"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
)

// sniffTimeout bounds how long a new connection may take to show what it speaks,
// with TLS including the handshake.
const sniffTimeout = 10 * time.Second

// acceptPause is between two tries to accept a connection when one fails.
const acceptPause = 50 * time.Millisecond

// Register adds etcd's services to g.
func (s *Server) Register(g *grpc.Server) {
	pb.RegisterKVServer(g, kv{s: s})
	pb.RegisterWatchServer(g, watch{s: s})
	pb.RegisterLeaseServer(g, lease{s: s})
	pb.RegisterClusterServer(g, cluster{s: s})
	pb.RegisterMaintenanceServer(g, maintenance{s: s})
	pb.RegisterAuthServer(g, users{s: s})
}

// grace is how long requests under way have when a server stops.
const grace = 2 * time.Second

// Serve answers gRPC and the JSON gateway on l until ctx ends or l fails. It
// closes l. When it ends, so do all watches and keep-alives of the server; other
// requests under way are answered first, if that does not take long.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.show(l)
	all := &conns{Listener: l, open: map[*accepted]bool{}}
	l = all
	if s.cfg.TLS != nil {
		l = tls.NewListener(l, negotiating(s.cfg.TLS))
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(s.cfg.MaxRequestBytes+512<<10), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(math.MaxUint32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
	s.Register(g)
	own := bufconn.Listen(1 << 20)
	handler, conn, err := s.gateway(ctx, own)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	web := &http.Server{Handler: handler, ReadHeaderTimeout: sniffTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
	m := cmux.New(l)
	m.SetReadTimeout(sniffTimeout)
	m.HandleError(func(error) bool { return pause(ctx, acceptPause) }) // too many open files, mostly
	rpc, plain := m.Match(cmux.HTTP2()), m.Match(cmux.Any())
	ended := make(chan error, 4)
	for _, serve := range []func() error{
		func() error { return g.Serve(rpc) },
		func() error { return g.Serve(own) },
		func() error { return web.Serve(plain) },
		m.Serve,
	} {
		go func() { ended <- serve() }() // each ends by what comes below
	}
	left := 4
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
	}
	s.stop()
	shut(g, web)
	conn.Close()
	m.Close()
	l.Close()
	all.closeAll() // of those that never showed what they speak
	for range left {
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// negotiating makes clients choose between gRPC and JSON. Those of gRPC offer
// HTTP/2 only; who offers HTTP/1.1 as well wants JSON.
func negotiating(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"http/1.1", "h2"}
	if find := c.GetConfigForClient; find != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			found, err := find(hello)
			if found != nil {
				found = found.Clone()
				found.NextProtos = c.NextProtos
			}
			return found, err
		}
	}
	return c
}

// shut ends both servers, when their requests have ended or it takes too long.
// The JSON gateway goes first: its requests are the other's.
func shut(g *grpc.Server, web *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if web.Shutdown(ctx) != nil {
		web.Close()
	}
	force := context.AfterFunc(ctx, g.Stop)
	defer force()
	g.GracefulStop()
}

// show makes the listener's address the member's client URL, unless one was given.
func (s *Server) show(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.advertise != "" {
		return
	}
	s.advertise = "http://" + l.Addr().String()
	if s.cfg.TLS != nil {
		s.advertise = "https://" + l.Addr().String()
	}
}

// gateway makes etcd's JSON API, which calls the gRPC services over own.
func (s *Server) gateway(ctx context.Context, own *bufconn.Listener) (http.Handler, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///own", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return own.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, nil, err
	}
	api := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
		Marshaler: &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}}))
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
		gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
	} {
		if err := register(ctx, api, conn); err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/v3/", http.MaxBytesHandler(api, int64(2*s.cfg.MaxRequestBytes))) // base64 is a third longer
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"etcdserver":"` + version.Version + `","etcdcluster":"` + clusterVersion + `","storage":"` + clusterVersion + `"}`))
	})
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	return mux, conn, nil
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.state(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(`{"health":"false","reason":"STORE"}`))
		return
	}
	w.Write([]byte(`{"health":"true","reason":""}`))
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if _, err := s.state(r.Context()); err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ok\n"))
}
