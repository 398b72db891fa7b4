package relay_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"sluice/configcenter/relay"
)

// node is one of three etcds.
type node struct {
	c          *embed.Config
	e          *embed.Etcd
	registered chan *grpc.Server // when it is ready, which it cannot be alone
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.registered = make(chan *grpc.Server, 1)
	n.c.ServiceRegister = func(g *grpc.Server) { n.registered <- g }
	n.e = must(embed.StartEtcd(n.c))(t)
}

func (n *node) stop() {
	select {
	case g := <-n.registered:
		g.Stop()
	default:
	}
	n.e.Close()
}

// three is a cluster that is not started yet.
func three(t *testing.T) []*node {
	t.Helper()
	var addrs []url.URL
	for range 6 {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		addrs = append(addrs, url.URL{Scheme: "http", Host: l.Addr().String()})
	}
	var ns []*node
	var initial []string
	for i := range 3 {
		c := embed.NewConfig()
		c.Name = fmt.Sprint("n", i)
		c.Dir, c.UnsafeNoFsync, c.LogLevel, c.LogOutputs = t.TempDir(), true, "panic", []string{"/dev/null"}
		c.ListenClientUrls, c.AdvertiseClientUrls = addrs[2*i:2*i+1], addrs[2*i:2*i+1]
		c.ListenPeerUrls, c.AdvertisePeerUrls = addrs[2*i+1:2*i+2], addrs[2*i+1:2*i+2]
		initial = append(initial, c.Name+"="+addrs[2*i+1].String())
		ns = append(ns, &node{c: c})
	}
	for _, n := range ns {
		n.c.InitialCluster = strings.Join(initial, ",")
	}
	return ns
}

// Members that stop one after the other, and then all but one, cost no client
// its watch; when there is a leader again, everything comes, once.
func TestLeaderLoss(t *testing.T) {
	if !*cluster {
		t.Skip("takes half a minute: with -cluster")
	}
	ns := three(t)
	var endpoints []string
	for _, n := range ns {
		n.start(t)
		endpoints = append(endpoints, n.c.ListenClientUrls[0].Host)
	}
	defer func() {
		for _, n := range ns {
			n.stop()
		}
	}()
	addr := start(t, relay.Config{Endpoints: endpoints})
	w := watch(t, clientv3.WithRequireLeader(soon(t)), dial(t, addr), all)
	c := client(t, addr)
	last := put(t, c, "/k/a", "0")
	w.events(1, 0)
	putting := func(value string) {
		t.Helper()
		until(t, "the cluster takes writes", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
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
		for seen := int64(0); seen < last; {
			m := w.next()
			if m.Canceled {
				t.Fatalf("got %v", m)
			}
			for _, e := range m.Events {
				if seen != 0 && e.Kv.ModRevision != seen+1 {
					t.Fatalf("revision %d came after %d", e.Kv.ModRevision, seen)
				}
				seen = e.Kv.ModRevision
			}
		}
	}
	for i, n := range ns {
		n.stop()
		putting(fmt.Sprint("without ", i))
		upTo()
		n.start(t)
	}
	ns[0].stop()
	ns[1].stop()
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
