package relay_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice/configcenter/embedded"
	"sluice/configcenter/relay"
)

// node is one of three etcds.
type node struct {
	conf embedded.Config
	s    *embedded.Server
}

func (n *node) start(t *testing.T) {
	t.Helper()
	until(t, "the member listens", func() (ok bool) {
		s, err := embedded.Start(soon(t), n.conf)
		if err != nil {
			t.Log(err) // somebody's connection may have the port for a moment
			return false
		}
		n.s = s
		return true
	})
}

// three is a cluster that is not started yet.
func three(t *testing.T) []*node {
	t.Helper()
	var addrs []string
	for range 6 {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	all := map[string]string{}
	var ns []*node
	for i := range 3 {
		c := &embedded.Cluster{Name: fmt.Sprint("n", i), PeerListen: addrs[2*i], Members: all}
		all[c.Name] = "http://" + c.PeerListen
		ns = append(ns, &node{conf: embedded.Config{Dir: t.TempDir(), Listen: "http://" + addrs[2*i+1], NoSync: true, Cluster: c}})
	}
	return ns
}

// Members that stop one after the other, and then all but one, cost no client
// its watch; when there is a leader again, everything comes, once.
func TestLeaderLoss(t *testing.T) {
	t.Parallel()
	ns := three(t)
	var endpoints []string
	for _, n := range ns {
		n.start(t)
		endpoints = append(endpoints, n.conf.Listen)
	}
	defer func() {
		for _, n := range ns {
			n.s.Stop()
		}
	}()
	addr := start(t, relay.Config{Endpoints: endpoints})
	w := watch(t, clientv3.WithRequireLeader(soon(t)), dial(t, addr), all)
	c := client(t, addr)
	last := put(t, c, "/k/a", "0")
	seen := w.events(1, 0)[0].Kv.ModRevision
	putting := func(value string) {
		t.Helper()
		until(t, "the cluster takes writes", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			a, err := c.Put(ctx, "/k/a", value)
			if err == nil {
				last = a.Header.Revision
			}
			return err == nil
		})
	}
	// A write that failed for the client may have happened: what counts is that
	// all revisions come, in order.
	upTo := func() {
		t.Helper()
		for seen < last {
			m := w.next()
			if m.Canceled {
				t.Fatalf("got %v", m)
			}
			for _, e := range m.Events {
				if e.Kv.ModRevision != seen+1 {
					t.Fatalf("revision %d came after %d", e.Kv.ModRevision, seen)
				}
				seen = e.Kv.ModRevision
			}
		}
	}
	for i, n := range ns {
		n.s.Stop()
		putting(fmt.Sprint("without ", i))
		upTo()
		n.start(t)
	}
	ns[0].s.Stop()
	ns[1].s.Stop()
	if _, err := pb.NewKVClient(dial(t, addr)).Put(within(t, 2*time.Second), &pb.PutRequest{Key: []byte("/k/a")}); err == nil {
		t.Error("a write without a quorum has succeeded")
	}
	ns[0].start(t)
	ns[1].start(t)
	putting("all again")
	upTo()
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
