package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"

	"sluice/configcenter/relay"
)

// until polls what comes true by itself.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// Clients in a namespace see it as everything, and nothing else.
func TestNamespace(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	addr := start(t, relay.Config{Endpoints: []string{store}, Namespace: "/ns/"})
	in, out := client(t, addr), client(t, store)
	ctx := soon(t)
	put(t, out, "/ns", "below")
	put(t, out, "/ns0", "above")
	lease := must(in.Grant(ctx, 600))(t).ID
	must(in.Put(ctx, "a", "1", clientv3.WithLease(lease)))(t)
	must(out.Put(ctx, "other", "1", clientv3.WithLease(lease)))(t)
	a := must(in.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), "=", 1)).
		Then(clientv3.OpPut("b", "2"), clientv3.OpGet("\x00", clientv3.WithFromKey()),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("a", "2", clientv3.WithLease(lease), clientv3.WithPrevKV())}, nil)).Commit())(t)
	if kvs := a.Responses[1].GetResponseRange().Kvs; !a.Succeeded || len(kvs) != 2 || string(kvs[0].Key) != "a" {
		t.Fatalf("got %v", a.Responses)
	}
	if prev := a.Responses[2].GetResponseTxn().Responses[0].GetResponsePut().PrevKv; string(prev.GetKey()) != "a" {
		t.Fatalf("got %v", prev)
	}
	if ttl := must(in.TimeToLive(ctx, lease, clientv3.WithAttachedKeys()))(t); len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "a" {
		t.Fatalf("got %q", ttl.Keys)
	}
	if got := must(out.Get(ctx, "/ns/a"))(t); len(got.Kvs) != 1 {
		t.Fatalf("got %v", got.Kvs)
	}
	if _, err := in.Get(ctx, ""); err == nil {
		t.Fatal("an empty key is read")
	}
	lock := must(v3lockpb.NewLockClient(dial(t, addr)).Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: int64(lease)}))(t)
	if got := must(out.Get(ctx, "/ns/"+string(lock.Key)))(t); len(got.Kvs) != 1 {
		t.Fatalf("lock %q is not in the namespace", lock.Key)
	}
	must(v3lockpb.NewLockClient(dial(t, addr)).Unlock(ctx, &v3lockpb.UnlockRequest{Key: lock.Key}))(t)
	election := v3electionpb.NewElectionClient(dial(t, addr))
	leader := must(election.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: int64(lease), Value: []byte("me")}))(t).Leader
	seen := must(must(election.Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte("e")}))(t).Recv())(t)
	if string(seen.Kv.Key) != string(leader.Key) || string(leader.Name) != "e" {
		t.Fatalf("got %v and %v", seen, leader)
	}
	must(election.Resign(ctx, &v3electionpb.ResignRequest{Leader: leader}))(t)
}

// The library's own locks and elections work through the relay, and its streamed reads.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, relay.Config{Endpoints: []string{realEtcd(t)}}))
	s := must(concurrency.NewSession(c, concurrency.WithTTL(30)))(t)
	defer s.Close()
	m := concurrency.NewMutex(s, "/lock")
	if err := m.Lock(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Unlock(soon(t)); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		put(t, c, fmt.Sprintf("/s/%d", i), "x")
	}
	n := 0
	stream := must(pb.NewKVClient(c.ActiveConnection()).RangeStream(soon(t), &pb.RangeRequest{Key: []byte("/s/"), RangeEnd: []byte("/s0")}))(t)
	for n < 20 {
		n += len(must(stream.Recv())(t).RangeResponse.Kvs)
	}
}

// Relays that are registered know each other, and clients that sync find all.
func TestRegistration(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	conf := relay.Config{Endpoints: []string{store}, ResolverPrefix: "/relays", ResolverTTL: 60}
	one := start(t, conf)
	two, stop := launch(t, conf, "127.0.0.1:0")
	c := client(t, one)
	want := []string{"http://" + one, "http://" + two}
	slices.Sort(want)
	sync := func() []string {
		if err := c.Sync(soon(t)); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(slices.Values(c.Endpoints()))
	}
	until(t, "both relays are listed", func() bool { return slices.Equal(sync(), want) })
	stop()
	until(t, "one relay is listed", func() bool { return slices.Equal(sync(), []string{"http://" + one}) })
	put(t, c, "still", "works")
}

// Keep-alives of many clients for one lease are few in the cluster; and a lease
// that nobody keeps alive ends.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	addr := start(t, relay.Config{Endpoints: []string{realEtcd(t)}})
	c := client(t, addr)
	ctx := soon(t)
	lease := must(c.Grant(ctx, 60))(t).ID
	const clients, times = 50, 10
	var wg sync.WaitGroup
	conn := dial(t, addr)
	for range clients {
		wg.Go(func() {
			k, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
			for range times {
				if err == nil {
					err = k.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)})
				}
				var m *pb.LeaseKeepAliveResponse
				if err == nil {
					m, err = k.Recv()
				}
				if err != nil || m.ID != int64(lease) || m.TTL != 60 {
					t.Errorf("got %v, %v", m, err)
					return
				}
			}
			if err := k.CloseSend(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	asked, sent := metric(t, addr, "sluice_relay_keepalives_total"), metric(t, addr, "sluice_relay_upstream_keepalives_total")
	if asked != clients*times || sent >= asked/2 {
		t.Errorf("%v keep-alives of clients became %v", asked, sent)
	}
	must(c.Revoke(ctx, lease))(t)
	k := must(pb.NewLeaseClient(conn).LeaseKeepAlive(ctx))(t)
	if err := k.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)}); err != nil {
		t.Fatal(err)
	}
	if m := must(k.Recv())(t); m.TTL != 0 {
		t.Fatalf("got %v", m)
	}
	short := must(c.Grant(ctx, 1))(t).ID
	must(c.KeepAliveOnce(ctx, short))(t)
	until(t, "the lease has ended", func() bool { return must(c.TimeToLive(ctx, short))(t).TTL < 0 })
}

// Watchers of a prefix, of its parts and of its keys share one watch.
func TestCoalescing(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	addr := start(t, relay.Config{Endpoints: []string{store}})
	ctx := soon(t)
	conn := dial(t, addr)
	var ws []*raw
	for i := range 60 {
		c := all
		switch i % 3 {
		case 1:
			c = &pb.WatchCreateRequest{Key: fmt.Appendf(nil, "/k/%d", i%6)}
		case 2:
			c = &pb.WatchCreateRequest{Key: []byte("/k/1"), RangeEnd: []byte("/k/5"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}
		}
		ws = append(ws, watch(t, ctx, conn, c))
	}
	c := client(t, store)
	for i := range 12 {
		put(t, c, fmt.Sprintf("/k/%d", i%6), "v")
	}
	for i, w := range ws {
		w.events([]int{12, 2, 8}[i%3], 0)
	}
	if got := metric(t, addr, "sluice_relay_upstream_watches"); got != 1 {
		t.Errorf("%v watches in the cluster", got)
	}
}

// Watchers that want it hear the revision when nothing happens; the others do not.
func TestProgress(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	addr := start(t, relay.Config{Endpoints: []string{store}, ProgressInterval: 100 * time.Millisecond})
	w := watch(t, soon(t), dial(t, addr), all)
	w.create(&pb.WatchCreateRequest{Key: []byte("/k/1"), ProgressNotify: true, WatchId: 7})
	rev := put(t, client(t, store), "elsewhere", "v")
	for {
		m := w.next()
		if m.WatchId != 7 || len(m.Events) > 0 {
			t.Fatalf("got %v", m)
		}
		if m.Header.Revision >= rev {
			return
		}
	}
}

// An answer that is kept does not outlive the state of the cluster that it is of.
func TestCacheRestored(t *testing.T) {
	t.Parallel()
	s := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	url := s.URL()
	addr := start(t, relay.Config{Endpoints: []string{url}})
	c := client(t, addr)
	for range 5 {
		put(t, c, "/k/1", "old")
	}
	w := watch(t, soon(t), dial(t, addr), all)
	get := func() string {
		t.Helper()
		return string(must(c.Get(soon(t), "/k/", clientv3.WithPrefix(), clientv3.WithSerializable()))(t).Kvs[0].Value)
	}
	until(t, "the answer is kept", func() bool { get(); return metric(t, addr, "etcd_grpc_proxy_cache_hits_total") > 0 })
	s.Stop()
	s = startEtcd(t, t.TempDir(), url)
	defer s.Stop()
	w.until((*pb.WatchResponse).GetCanceled)
	w.create(all)
	put(t, client(t, strings.TrimPrefix(url, "http://")), "/k/1", "new")
	w.events(1, 0)
	if got := get(); got != "new" {
		t.Fatalf("got %q", got)
	}
}

// What is read again and again is answered by the relay, until it is written.
func TestCache(t *testing.T) {
	t.Parallel()
	for name, namespace := range map[string]string{"plain": "", "namespace": "/ns"} {
		t.Run(name, func(t *testing.T) {
			store := realEtcd(t)
			addr := start(t, relay.Config{Endpoints: []string{store}, Namespace: namespace})
			c, beside := client(t, addr), client(t, store)
			ctx := soon(t)
			get := func(ctx context.Context) *clientv3.GetResponse {
				t.Helper()
				return must(c.Get(ctx, "/k/", clientv3.WithPrefix(), clientv3.WithSerializable()))(t)
			}
			put(t, c, "/k/1", "a")
			hits := func() float64 { return metric(t, addr, "etcd_grpc_proxy_cache_hits_total") }
			until(t, "the answer is kept", func() bool { get(ctx); return hits() > 0 })
			if a := get(ctx); len(a.Kvs) != 1 || a.Count != 1 || a.Header.ClusterId == 0 || string(a.Kvs[0].Key) != "/k/1" {
				t.Fatalf("got %v", a)
			}
			// who writes reads what it wrote
			for i := range 20 {
				put(t, c, "/k/1", fmt.Sprint(i))
				for range 2 {
					if a := get(ctx); string(a.Kvs[0].Value) != fmt.Sprint(i) {
						t.Fatalf("got %v, want %d", a.Kvs, i)
					}
				}
			}
			must(c.Txn(ctx).Then(clientv3.OpDelete("/k/1")).Commit())(t)
			if a := get(ctx); len(a.Kvs) != 0 {
				t.Fatalf("got %v", a.Kvs)
			}
			// what others write comes by the watch
			rev := put(t, beside, namespace+"/k/2", "b")
			until(t, "the other write is read", func() bool { return len(get(ctx).Kvs) == 1 })
			until(t, "the revision is told", func() bool { return get(ctx).Header.Revision >= rev })
		})
	}
}

// A registered relay stops soon, also when its cluster does not answer any more.
func TestStopRegistered(t *testing.T) {
	t.Parallel()
	s := startEtcd(t, t.TempDir(), "http://127.0.0.1:0")
	addr, stop := launch(t, relay.Config{Endpoints: []string{s.URL()}, ResolverPrefix: "/relays", ResolverTTL: 600}, "127.0.0.1:0")
	c := client(t, strings.TrimPrefix(s.URL(), "http://"))
	until(t, "the relay is registered", func() bool { return must(c.Get(soon(t), "/relays/http://"+addr))(t).Count == 1 })
	s.Stop()
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	select {
	case <-stopped:
	case <-time.After(patience / 2):
		t.Fatal("the relay does not stop")
	}
}
