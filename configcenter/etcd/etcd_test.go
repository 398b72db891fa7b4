package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/embedded"
	"sluice/configcenter/resource"
)

// server is shared by the tests that do not restart it; each has its own prefix.
var server *embedded.Server

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(shared{m})
}

// shared runs the tests between start and stop of the shared server.
type shared struct{ m *testing.M }

func (s shared) Run() int {
	dir, err := tempDir()
	if err != nil {
		panic(err)
	}
	defer dir.remove()
	server, err = startIn(dir.path)
	if err != nil {
		panic(err)
	}
	defer server.Stop()
	return s.m.Run()
}

func startIn(dir string) (*embedded.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return embedded.Start(ctx, embedded.Config{Dir: dir, Listen: "http://127.0.0.1:0", NoSync: true, Log: slog.New(slog.DiscardHandler)})
}

func start(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	s, err := startIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, c Config) *Center {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	if c.ResyncDelay == 0 {
		c.ResyncDelay = 200 * time.Millisecond
	}
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

var prefixes atomic.Int64

// own opens the shared server with a prefix of the test's own.
func own(t testing.TB) *Center {
	return open(t, Config{Endpoints: []string{server.URL()}, Prefix: fmt.Sprint("/test", prefixes.Add(1))})
}

func raw(t testing.TB, url string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.Center { return own(t) })
}

func TestOtherKeysAreLeftAlone(t *testing.T) {
	c := own(t)
	ctx := t.Context()
	if err := c.Init(ctx); err != nil {
		t.Fatal(err)
	}
	kv := raw(t, server.URL())
	for _, k := range []string{"/gen_id", "/data_plane/server_info/1", "/unknown/1", "/routes", "/secrets/vault", "x/routes/1"} {
		if _, err := kv.Put(ctx, c.Prefix()+k, `{"a":1}`); err != nil {
			t.Fatal(err)
		}
	}
	f := contract.Follow(t, c)
	f.AwaitLen(0)
	f.Await("nothing", func(s *configcenter.Snapshot, _ int, _ []error) bool {
		for _, i := range resource.Kinds {
			if s.Len(i.Kind) != 0 {
				t.Errorf("%d %s", s.Len(i.Kind), i.Kind)
			}
		}
		return len(s.Problems()) == 0
	})
	before, err := kv.Get(ctx, c.Prefix()+"/routes/")
	if err != nil || len(before.Kvs) != 1 || string(before.Kvs[0].Value) != "init_dir" {
		t.Fatalf("%v, %v", before, err)
	}
	if err := c.Init(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := kv.Get(ctx, c.Prefix()+"/routes/")
	if err != nil || after.Kvs[0].ModRevision != before.Kvs[0].ModRevision {
		t.Errorf("a second Init wrote again: %v", err)
	}
	// An empty value is an object that cannot be read, not a deletion.
	if _, err := kv.Put(ctx, c.Prefix()+"/routes/1", ""); err != nil {
		t.Fatal(err)
	}
	f.Await("a problem", func(s *configcenter.Snapshot, _ int, _ []error) bool { return len(s.Problems()) == 1 })
}

func TestServerRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := newProxy(t, s.URL())
	c := open(t, Config{Endpoints: []string{p.url()}})
	f := contract.Follow(t, c)
	contract.Put(t, c, "1", "before")
	f.AwaitRoute("1", "before")
	kept := pointer(f, "1")
	s.Stop()
	f.Await("an error", func(_ *configcenter.Snapshot, _ int, errs []error) bool { return len(errs) > 0 })
	s = start(t, dir)
	defer s.Stop()
	p.to(s.URL())
	contract.Put(t, c, "2", "after")
	f.AwaitRoute("2", "after")
	f.Await("no reload", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 1 })
	if pointer(f, "1") != kept {
		t.Error("an unchanged route was made anew")
	}
}

func pointer(f *contract.Follower, id string) (item *configcenter.Item) {
	f.Await("route "+id, func(s *configcenter.Snapshot, _ int, _ []error) bool {
		item = s.Get(resource.Routes, id)
		return item != nil
	})
	return item
}

// An etcd that lost its data, or was restored from a backup, is behind what
// was seen: what it has now counts.
func TestSmallerRevision(t *testing.T) {
	s := start(t, t.TempDir())
	p := newProxy(t, s.URL())
	c := open(t, Config{Endpoints: []string{p.url()}})
	f := contract.Follow(t, c)
	for i := range 20 {
		contract.Put(t, c, fmt.Sprint(i), "old")
	}
	f.AwaitLen(20)
	s.Stop()
	s = start(t, t.TempDir())
	defer s.Stop()
	p.to(s.URL())
	contract.Put(t, c, "1", "new")
	f.AwaitRoute("1", "new")
	f.AwaitLen(1)
	f.Await("reload", func(_ *configcenter.Snapshot, full int, errs []error) bool {
		return full == 2 && errors.Is(errors.Join(errs...), errReload)
	})
	contract.Put(t, c, "2", "newer")
	f.AwaitRoute("2", "newer")
}

func TestCompactionWhileAway(t *testing.T) {
	p := newProxy(t, server.URL())
	store := own(t)
	c := open(t, Config{Endpoints: []string{p.url()}, Prefix: store.Prefix()})
	f := contract.Follow(t, c)
	contract.Put(t, store, "gone", "a")
	contract.Put(t, store, "kept", "a")
	f.AwaitLen(2)
	kept := pointer(f, "kept")
	p.cut()
	f.Await("an error", func(_ *configcenter.Snapshot, _ int, errs []error) bool { return len(errs) > 0 })
	if err := store.Delete(t.Context(), resource.Routes, "gone"); err != nil {
		t.Fatal(err)
	}
	last := contract.Put(t, store, "new", "b")
	if _, err := raw(t, server.URL()).Compact(t.Context(), last.Mod); err != nil {
		t.Fatal(err)
	}
	p.to(server.URL())
	f.AwaitRoute("new", "b")
	f.AwaitLen(2)
	f.Await("reload", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 2 })
	if pointer(f, "kept") != kept {
		t.Error("an unchanged route was made anew")
	}
}

// A connection that is cut where nobody notices is found by silence.
func TestSilentConnection(t *testing.T) {
	p := newProxy(t, server.URL())
	store := own(t)
	c := open(t, Config{Endpoints: []string{p.url()}, Prefix: store.Prefix(), HealthTimeout: 300 * time.Millisecond})
	f := contract.Follow(t, c)
	contract.Put(t, store, "1", "a")
	f.AwaitLen(1)
	answered(t, c)
	p.freeze()
	contract.Put(t, store, "2", "b")
	f.Await("an error", func(_ *configcenter.Snapshot, _ int, errs []error) bool { return len(errs) > 0 })
	p.cut()
	p.to(server.URL())
	f.AwaitRoute("2", "b")
}

// answered waits until an idle watch of its own has asked for a sign of life
// and got one.
func answered(t *testing.T, c *Center) {
	t.Helper()
	_, at, err := c.read(t.Context(), c.admin, c.cfg.Prefix+"/")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := c.admin.use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.admin.done(cl)
	s, err := c.openStream(t.Context(), cl.Client, at)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for !s.answers() {
		if _, err := s.next(at.rev); err != nil {
			t.Fatal(err)
		}
	}
}

// A gateway starts before its store, and takes the first endpoint that answers.
func TestStoreComesLater(t *testing.T) {
	dead, later := newProxy(t, ""), newProxy(t, "")
	c := open(t, Config{Endpoints: []string{dead.url(), later.url()}, Timeout: time.Second, StartupRetry: -1})
	if err := c.Init(t.Context()); err == nil {
		t.Error("Init succeeded without a store")
	}
	f := contract.Follow(t, c)
	f.Await("an error", func(_ *configcenter.Snapshot, full int, errs []error) bool { return len(errs) > 0 && full == 0 })
	s := start(t, t.TempDir())
	defer s.Stop()
	later.to(s.URL())
	f.AwaitLen(0)
	contract.Put(t, c, "1", "a")
	f.AwaitLen(1)
}

func TestUser(t *testing.T) {
	s := start(t, t.TempDir())
	defer s.Stop()
	admin := raw(t, s.URL())
	for _, err := range []error{
		second(admin.UserAdd(t.Context(), "root", "secret")),
		second(admin.UserGrantRole(t.Context(), "root", "root")),
		second(admin.UserAdd(t.Context(), "gateway", "secret")),
		second(admin.RoleAdd(t.Context(), "below")),
		second(admin.RoleGrantPermission(t.Context(), "below", "/apisix/", clientv3.GetPrefixRangeEnd("/apisix/"),
			clientv3.PermissionType(clientv3.PermReadWrite))),
		second(admin.UserGrantRole(t.Context(), "gateway", "below")),
		second(admin.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wrong := open(t, Config{Endpoints: []string{s.URL()}, User: "gateway", Password: "guess"})
	_, err := wrong.Get(t.Context(), resource.Routes, "1")
	if err == nil || !strings.Contains(err.Error(), "authentication failed") || strings.Contains(err.Error(), "guess") {
		t.Errorf("wrong password: %v", err)
	}
	c := open(t, Config{Endpoints: []string{s.URL()}, User: "gateway", Password: "secret"})
	f := contract.Follow(t, c)
	contract.Put(t, c, "1", "a")
	f.AwaitLen(1)
	outside := open(t, Config{Endpoints: []string{s.URL()}, User: "gateway", Password: "secret", Prefix: "/other"})
	denied := contract.Follow(t, outside)
	denied.Await("a refusal", func(_ *configcenter.Snapshot, _ int, errs []error) bool {
		return len(errs) > 0 && strings.Contains(errs[0].Error(), "permission denied")
	})
}

func second[T any](_ T, err error) error { return err }

func TestMutualTLS(t *testing.T) {
	certs := newCerts(t)
	p := newProxy(t, server.URL())
	p.serve(certs.server)
	https := strings.Replace(p.url(), "http:", "https:", 1)
	for name, c := range map[string]struct {
		files TLSFiles
		fails string
	}{
		"all given":        {TLSFiles{Cert: certs.cert, Key: certs.key, CA: certs.ca, SNI: "etcd.test"}, ""},
		"no verification":  {TLSFiles{Cert: certs.cert, Key: certs.key, NoVerify: true}, ""},
		"no certificate":   {TLSFiles{CA: certs.ca, SNI: "etcd.test"}, "Unavailable"},
		"unknown server":   {TLSFiles{Cert: certs.cert, Key: certs.key, SNI: "etcd.test"}, "certificate"},
		"another's name":   {TLSFiles{Cert: certs.cert, Key: certs.key, CA: certs.ca, SNI: "other.test"}, "other.test"},
		"not by name here": {TLSFiles{Cert: certs.cert, Key: certs.key, CA: certs.ca}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, Config{Endpoints: []string{https}, TLS: c.files.Load, Timeout: time.Second})
			_, err := e.NextID(t.Context())
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
		})
	}
	for _, f := range []TLSFiles{{Cert: "/none"}, {CA: "/none"}, {CA: certs.key}} {
		if _, err := f.Load(); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

func TestOpenWithoutEndpoints(t *testing.T) {
	if _, err := Open(Config{}); err == nil {
		t.Error("no error")
	}
	c := open(t, Config{Endpoints: []string{server.URL()}})
	c.Close()
	if _, err := c.NextID(t.Context()); err == nil {
		t.Error("a closed centre answers")
	}
}

// A burst of writes arrives in fewer batches than there are writes when the
// reader is slow, and nothing is lost.
func TestBurstIsGathered(t *testing.T) {
	c := own(t)
	const n = 500
	batches := 0
	var s *configcenter.Snapshot
	for b, err := range c.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if batches++; batches == 1 {
			for i := range n {
				contract.Put(t, c, fmt.Sprint(i), "x")
			}
		}
		if s, _ = s.Next(b); s.Len(resource.Routes) == n {
			break
		}
	}
	if batches > n/2 {
		t.Errorf("%d batches for %d writes", batches, n)
	}
}

func BenchmarkPut(b *testing.B) {
	c := own(b)
	for i := 0; b.Loop(); i++ {
		if _, err := c.Put(b.Context(), resource.Routes, fmt.Sprint(i%100), contract.Route("x"), configcenter.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// From the write of one route until the reader has it.
func BenchmarkPutToBatch(b *testing.B) {
	c := own(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	got := make(chan int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch := range c.Watch(ctx) {
			select {
			case got <- batch.Rev:
			case <-ctx.Done():
			}
		}
	}()
	<-got
	for i := 0; b.Loop(); i++ {
		o, err := c.Put(ctx, resource.Routes, fmt.Sprint(i%100), contract.Route("x"), configcenter.PutOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for rev := int64(0); rev < o.Mod; {
			rev = <-got
		}
	}
	cancel()
	<-done
}
