package adapter_test

import (
	"context"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/embedded"
)

// patience is how long anything may take before a test gives up.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(backendtest.Run(m)) }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// serve starts an adapter over the store and returns its address. All of it,
// the store too, ends with the test.
func serve(t testing.TB, b mvcc.Backend) string {
	return serveConfig(t, adapter.Config{Backend: b})
}

func serveConfig(t testing.TB, c adapter.Config) string {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := must(adapter.New(c))(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		s.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := c.Backend.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// realEtcd starts an etcd for the test. Its JSON gateway has to know its port
// before it listens; another process may take that port meanwhile. What it finds
// fatal ends the tests' process at once: it has to be said on standard error,
// since the output of a test is lost then.
func realEtcd(t testing.TB) string {
	t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var s *embedded.Server
	var err error
	for range 5 {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		addr := l.Addr().String()
		l.Close()
		if s, err = embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Listen: "http://" + addr, NoSync: true, Log: log}); err == nil {
			break
		}
	}
	must(s, err)(t)
	t.Cleanup(s.Stop)
	return strings.TrimPrefix(s.URL(), "http://")
}

// side is one of the two servers that are compared.
type side struct {
	pb.KVClient
	pb.LeaseClient
	pb.WatchClient
	pb.ClusterClient
	pb.MaintenanceClient
	pb.AuthClient
	addr string
}

func dial(t testing.TB, addr string) *side {
	t.Helper()
	c := must(grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32))))(t)
	t.Cleanup(func() { c.Close() })
	return &side{pb.NewKVClient(c), pb.NewLeaseClient(c), pb.NewWatchClient(c), pb.NewClusterClient(c),
		pb.NewMaintenanceClient(c), pb.NewAuthClient(c), addr}
}
