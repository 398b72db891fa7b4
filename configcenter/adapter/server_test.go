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

// lastWords is what an etcd says about its errors. Those that it finds fatal end
// the tests' process at once, and the output of the test is lost then: they go
// to standard error.
type lastWords struct{ slog.Handler }

func (l lastWords) WithAttrs(a []slog.Attr) slog.Handler { return lastWords{l.Handler.WithAttrs(a)} }

func (l lastWords) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "setting up serving from embedded etcd failed." {
		return nil // it does so whenever it ends
	}
	return l.Handler.Handle(ctx, r)
}

func etcdLog() *slog.Logger {
	return slog.New(lastWords{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})})
}

// realEtcd starts an etcd for the test. Its JSON gateway has to know its port
// before it listens; another process may take that port meanwhile.
func realEtcd(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var s *embedded.Server
	var err error
	for range 5 {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		addr := l.Addr().String()
		l.Close()
		if s, err = embedded.Start(ctx, embedded.Config{Dir: t.TempDir(), Listen: "http://" + addr, NoSync: true, Log: etcdLog()}); err == nil {
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
