package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"sluice/configcenter/embedded"
	"sluice/configcenter/relay"
)

// patience is how long anything may take before a test gives up.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	// What etcd itself leaves behind, after a lock in its own service.
	options := []goleak.Option{
		goleak.IgnoreTopFunction("go.etcd.io/etcd/client/v3.(*lessor).deadlineLoop"),
		goleak.IgnoreTopFunction("go.etcd.io/etcd/client/v3.(*lessor).sendKeepAliveLoop"),
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc.(*LeaseServer).LeaseKeepAlive"),
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc.(*LeaseServer).leaseKeepAlive"),
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter.(*ls2lcClientStream).Recv"),
	}
	for end := time.Now().Add(patience); code == 0; {
		err := goleak.Find(options...) // which waits a little itself
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// realEtcd starts an etcd for the test and returns its address.
func realEtcd(t testing.TB) string {
	t.Helper()
	s := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	t.Cleanup(s.Stop)
	return strings.TrimPrefix(s.URL(), "http://")
}

func startEtcd(t testing.TB, dir, listen string) *embedded.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return must(embedded.Start(ctx, embedded.Config{Dir: dir, Listen: listen, NoSync: true}))(t)
}

// specialEtcd starts an etcd that is set up by f, for what the product's own does not offer.
func specialEtcd(t testing.TB, f func(*embed.Config)) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.UnsafeNoFsync, c.LogLevel, c.LogOutputs = t.TempDir(), true, "panic", []string{"/dev/null"}
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{local}, []url.URL{local}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{local}, []url.URL{local}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	registered := make(chan *grpc.Server, 1)
	c.ServiceRegister = func(g *grpc.Server) { registered <- g }
	f(c)
	e := must(embed.StartEtcd(c))(t)
	g := <-registered
	t.Cleanup(func() {
		g.Stop() // else it would wait for watches
		e.Close()
	})
	return e.Clients[0].Addr().String()
}

// start starts a relay and returns its address. It ends with the test.
func start(t testing.TB, c relay.Config) string {
	t.Helper()
	addr, stop := launch(t, c, "127.0.0.1:0")
	t.Cleanup(stop)
	return addr
}

func launch(t testing.TB, c relay.Config, listen string) (addr string, stop func()) {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := must(relay.New(c))(t)
	l := must(net.Listen("tcp", listen))(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	return l.Addr().String(), func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// client connects to an address. It ends with the test.
func client(t testing.TB, addr string) *clientv3.Client {
	t.Helper()
	return login(t, addr, "", "")
}

func login(t testing.TB, addr, user, password string) *clientv3.Client {
	t.Helper()
	c := must(clientv3.New(clientv3.Config{Endpoints: []string{addr}, Username: user, Password: password, Logger: zap.NewNop(), DialTimeout: patience}))(t)
	t.Cleanup(func() { c.Close() })
	return c
}

// soon is a context that ends before the test does.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
