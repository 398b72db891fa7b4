package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c Config) *Server {
	t.Helper()
	c.NoSync = true
	if c.Listen == "" {
		c.Listen = "http://127.0.0.1:0"
	}
	c.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(t *testing.T, url string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDataOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := start(t, Config{Dir: dir})
	if _, err := client(t, s.URL()).Put(ctx, "/a", "1"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = start(t, Config{Dir: dir})
	defer s.Stop()
	r, err := client(t, s.URL()).Get(ctx, "/a")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "1" {
		t.Fatalf("got %v, %v", r, err)
	}
}

func TestErrorsNameWhatIsInTheWay(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()})
	defer s.Stop()
	taken := strings.TrimPrefix(s.URL(), "http://")
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Dir: t.TempDir(), Listen: s.URL()}, []string{taken, "address already in use"}},
		{Config{Dir: s.etcd.Config().Dir, Listen: "http://127.0.0.1:0"}, []string{s.etcd.Config().Dir, "in use by another process"}},
		{Config{}, []string{"no data directory"}},
		{Config{Dir: t.TempDir(), Listen: "127.0.0.1:2379"}, []string{"127.0.0.1:2379"}},
		{Config{Dir: t.TempDir(), Listen: "http://127.0.0.1"}, []string{"must be http://host:port"}},
		{Config{Dir: "/dev/null/x", Listen: "http://127.0.0.1:0"}, []string{"/dev/null"}},
	} {
		c.cfg.Log = slog.New(slog.DiscardHandler)
		_, err := Start(t.Context(), c.cfg)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
	}
}

// A member that has never had enough others can be stopped.
func TestStopWithoutQuorum(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0") // where nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	peer := free(t)
	dir := t.TempDir()
	lonely := &Cluster{Name: "a", PeerListen: peer, Members: map[string]string{"a": "http://" + peer, "b": "http://" + other.Addr().String()}}
	stopped := make(chan struct{})
	s := start(t, Config{Dir: dir, Cluster: lonely})
	go func() { defer close(stopped); s.Stop() }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the member does not stop")
	}
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestLogKeepsWarnings(t *testing.T) {
	var out bytes.Buffer
	log := zapTo(slog.New(slog.NewTextHandler(&out, nil)), new(atomic.Bool)).With(zap.Int("a", 1))
	log.Info("quiet")
	log.Warn("careful", zap.String("b", "2"))
	log.Error("broken")
	got := out.String()
	if strings.Contains(got, "quiet") || !strings.Contains(got, "level=WARN msg=careful part=etcd") ||
		!strings.Contains(got, "a=1") || !strings.Contains(got, "b=2") || !strings.Contains(got, "level=ERROR msg=broken") {
		t.Error(got)
	}
}

// What etcd says last is heard: its Fatal ends the process.
func TestLogTellsTheEnd(t *testing.T) {
	var out bytes.Buffer
	log := zapTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})), new(atomic.Bool)).WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	for name, end := range map[string]func(string, ...zap.Field){"fatal": log.Fatal, "panic": log.Panic} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s has not ended", name)
				}
			}()
			end("disk gone: "+name, zap.Error(errors.New("i/o")))
		}()
		if got := out.String(); !strings.Contains(got, "ends this process: disk gone: "+name) || !strings.Contains(got, "error=i/o") {
			t.Error(got)
		}
	}
}

// An orderly stop says nothing of errors.
func TestStopIsQuiet(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, Config{Dir: t.TempDir(), Listen: "http://127.0.0.1:0", NoSync: true,
		Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if out.Len() > 0 {
		t.Error(out.String())
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		s, err := Start(ctx, Config{Dir: b.TempDir(), Listen: "http://127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		cancel()
		b.StopTimer()
		s.Stop()
		b.StartTimer()
	}
}
