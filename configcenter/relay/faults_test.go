package relay_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter/embedded"
	"sluice/configcenter/relay"
)

// raw is a watch stream without a client library: what comes is what was sent.
type raw struct {
	t testing.TB
	pb.Watch_WatchClient
}

func watch(t testing.TB, ctx context.Context, conn *grpc.ClientConn, cs ...*pb.WatchCreateRequest) *raw {
	t.Helper()
	r := &raw{t, must(pb.NewWatchClient(conn).Watch(ctx))(t)}
	for _, c := range cs {
		r.create(c)
	}
	return r
}

func (r *raw) create(c *pb.WatchCreateRequest) *pb.WatchResponse {
	r.t.Helper()
	if err := r.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}}); err != nil {
		r.t.Fatal(err)
	}
	return r.until((*pb.WatchResponse).GetCreated)
}

func (r *raw) next() *pb.WatchResponse {
	r.t.Helper()
	return must(r.Recv())(r.t)
}

func (r *raw) until(is func(*pb.WatchResponse) bool) *pb.WatchResponse {
	r.t.Helper()
	for {
		if m := r.next(); is(m) {
			return m
		}
	}
}

// events takes as many events as wanted, and checks that their revisions are in
// order and each is there once.
func (r *raw) events(n int, last int64) (es []*mvccpb.Event) {
	r.t.Helper()
	for len(es) < n {
		m := r.next()
		if m.Canceled {
			r.t.Fatalf("canceled after %d events: %v", len(es), m)
		}
		es = append(es, m.Events...)
	}
	for _, e := range es {
		if e.Kv.ModRevision <= last {
			r.t.Fatalf("revision %d came after %d", e.Kv.ModRevision, last)
		}
		last = e.Kv.ModRevision
	}
	return es
}

var all = &pb.WatchCreateRequest{Key: []byte("/k/"), RangeEnd: []byte("/k0")}

func put(t testing.TB, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	return must(c.Put(soon(t), key, value))(t).Header.Revision
}

// A cluster that restarts costs no client its watch, and no event is lost or
// comes twice.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startEtcd(t, dir, "http://127.0.0.1:0")
	url := s.URL()
	addr := start(t, relay.Config{Endpoints: []string{url}})
	conn := dial(t, addr)
	ctx := soon(t)
	w := watch(t, ctx, conn, all)
	c := client(t, addr)
	first := put(t, c, "/k/a", "1")
	w.events(1, 0)
	for i := range 2 {
		s.Stop()
		s = startEtcd(t, dir, url)
		put(t, client(t, strings.TrimPrefix(url, "http://")), "/k/a", fmt.Sprint(i))
		if got := w.events(1, first+int64(i))[0].Kv; got.ModRevision != first+1+int64(i) {
			t.Fatalf("got %v", got)
		}
	}
	defer s.Stop()
	past := watch(t, ctx, conn, &pb.WatchCreateRequest{Key: all.Key, RangeEnd: all.RangeEnd, StartRevision: first})
	if got := past.events(3, 0); got[0].Kv.ModRevision != first {
		t.Fatalf("got %v", got)
	}
}

// A cluster that is restored from an old copy makes every watcher load anew.
func TestRestored(t *testing.T) {
	t.Parallel()
	s := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	url := s.URL()
	addr := start(t, relay.Config{Endpoints: []string{url}})
	w := watch(t, soon(t), dial(t, addr), all)
	c := client(t, addr)
	for i := range 5 {
		put(t, c, "/k/a", fmt.Sprint(i))
	}
	w.events(5, 0)
	s.Stop()
	s = startEtcd(t, t.TempDir(), url)
	defer s.Stop()
	m := w.until((*pb.WatchResponse).GetCanceled)
	if m.CompactRevision == 0 {
		t.Fatalf("got %v", m)
	}
	w.create(all)
	rev := put(t, client(t, strings.TrimPrefix(url, "http://")), "/k/a", "new")
	if got := w.events(1, 0)[0].Kv.ModRevision; got != rev {
		t.Fatalf("revision %d, want %d", got, rev)
	}
}

// Another cluster in the place of the one before makes every watcher load anew,
// whatever its revision.
func TestReplaced(t *testing.T) {
	t.Parallel()
	s := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	url := s.URL()
	addr := start(t, relay.Config{Endpoints: []string{url}})
	w := watch(t, soon(t), dial(t, addr), all)
	put(t, client(t, addr), "/k/a", "1")
	w.events(1, 0)
	other := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	c := client(t, strings.TrimPrefix(other.URL(), "http://"))
	for i := range 20 {
		put(t, c, "/k/b", fmt.Sprint(i))
	}
	file, dir := filepath.Join(t.TempDir(), "snapshot"), filepath.Join(t.TempDir(), "etcd")
	err := embedded.Snapshot(soon(t), other.URL(), nil, file)
	other.Stop()
	if err != nil {
		t.Fatal(err)
	}
	must(embedded.Restore(file, dir, nil))(t)
	s.Stop()
	s = startEtcd(t, dir, url)
	defer s.Stop()
	if m := w.until((*pb.WatchResponse).GetCanceled); m.CompactRevision == 0 {
		t.Fatalf("got %v", m)
	}
}

// Who does not read falls out of the history and is told so; the others get
// everything.
func TestSlow(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	addr := start(t, relay.Config{Endpoints: []string{store}, RingEvents: 64})
	ctx := soon(t)
	slow, fast := watch(t, ctx, dial(t, addr), all), watch(t, ctx, dial(t, addr), all)
	c := client(t, store)
	const n = 400
	value := strings.Repeat("x", 4096)
	last := int64(0)
	for i := range n {
		put(t, c, fmt.Sprintf("/k/%d", i%10), value)
		last = fast.events(1, last)[0].Kv.ModRevision
	}
	m := slow.until((*pb.WatchResponse).GetCanceled)
	if m.CompactRevision == 0 || m.CompactRevision > last {
		t.Fatalf("got %v", m)
	}
	// from there on it can go on
	again := watch(t, ctx, dial(t, addr), &pb.WatchCreateRequest{Key: all.Key, RangeEnd: all.RangeEnd, StartRevision: m.CompactRevision})
	if got := again.events(int(last-m.CompactRevision)+1, m.CompactRevision-1); got[len(got)-1].Kv.ModRevision != last {
		t.Fatalf("got %d events, the last of %d", len(got), got[len(got)-1].Kv.ModRevision)
	}
}

// A long history is told in full to who asks for it, while more happens.
func TestLongPast(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	addr := start(t, relay.Config{Endpoints: []string{store}, RingEvents: 200, Namespace: "/ns"})
	c := client(t, store)
	ctx := soon(t)
	live := watch(t, ctx, dial(t, addr), all)
	const before, during = 500, 50
	first := put(t, c, "/ns/k/0", "0")
	last := live.events(1, 0)[0].Kv.ModRevision
	for i := range before {
		put(t, c, fmt.Sprintf("/ns/k/%d", i%7), fmt.Sprint(i))
		last = live.events(1, last)[0].Kv.ModRevision
	}
	past := watch(t, ctx, dial(t, addr))
	if err := past.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: all.Key, RangeEnd: all.RangeEnd, StartRevision: first, PrevKv: true}}}); err != nil {
		t.Fatal(err)
	}
	for i := range during {
		put(t, c, fmt.Sprintf("/ns/k/%d", i%7), fmt.Sprint(i))
	}
	for i, e := range past.events(1+before+during, first-1) {
		if e.Kv.ModRevision != first+int64(i) || !strings.HasPrefix(string(e.Kv.Key), "/k/") || i > 7 && string(e.PrevKv.GetKey()) != string(e.Kv.Key) {
			t.Fatalf("event %d: %v", i, e)
		}
	}
	live.events(during, last)
	must(c.Compact(ctx, first+100))(t)
	late := watch(t, ctx, dial(t, addr))
	if m := late.create(&pb.WatchCreateRequest{Key: all.Key, RangeEnd: all.RangeEnd, StartRevision: first}); m.Canceled {
		t.Fatalf("got %v", m)
	}
	if m := late.next(); !m.Canceled || m.CompactRevision != first+100 {
		t.Fatalf("got %v", m)
	}
}

// Stopping ends the clients' watches so that they go elsewhere, and soon.
func TestStop(t *testing.T) {
	t.Parallel()
	addr, stop := launch(t, relay.Config{Endpoints: []string{realEtcd(t)}}, "127.0.0.1:0")
	w := watch(t, soon(t), dial(t, addr), all)
	stop()
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
}

// A cluster that was away for long is found soon when it is back: the pauses
// between tries do not grow on and on.
func TestRetries(t *testing.T) {
	t.Parallel()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	w := must(pb.NewWatchClient(dial(t, start(t, relay.Config{Endpoints: []string{l.Addr().String()}}))).Watch(soon(t)))(t)
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: all}}); err != nil {
		t.Fatal(err)
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for n := range 12 { // gRPC itself would take more than three minutes for them
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("after %d tries: %v", n, err)
		}
		conn.Close()
	}
}

// A cluster that does not answer makes clients wait, and stops nobody from
// stopping.
func TestNoCluster(t *testing.T) {
	t.Parallel()
	addr, stop := launch(t, relay.Config{Endpoints: []string{"127.0.0.1:1"}}, "127.0.0.1:0")
	w := must(pb.NewWatchClient(dial(t, addr)).Watch(soon(t)))(t)
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: all}}); err != nil {
		t.Fatal(err)
	}
	_, err := pb.NewKVClient(dial(t, addr)).Range(soon(t), &pb.RangeRequest{Key: []byte("a")})
	if status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	stop()
}
