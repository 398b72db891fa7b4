package chaos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice/configcenter"
)

const prefix = "/apisix"

// node is one etcd process, seen by gateways and by the other nodes through a
// proxy each.
type node struct {
	t        testing.TB
	name     string
	dir      string
	client   string // where it listens itself
	peerAddr string
	near     *proxy // for gateways
	peer     *proxy // for the other nodes
	extra    []string
	list     string // all members
	p        *process
}

// nodes makes n members of one cluster; none runs yet.
func nodes(t testing.TB, n int, extra ...string) []*node {
	t.Helper()
	var all []*node
	var list []string
	for i := range n {
		e := &node{t: t, name: fmt.Sprint("n", i), dir: filepath.Join(t.TempDir(), "etcd"), client: freeAddr(t), peerAddr: freeAddr(t), extra: extra}
		e.near, e.peer = newProxy(t, e.client), newProxy(t, e.peerAddr)
		list = append(list, e.name+"=http://"+e.peer.addr())
		all = append(all, e)
	}
	for _, e := range all {
		e.list = strings.Join(list, ",")
	}
	return all
}

func (e *node) scheme() string {
	if len(e.extra) > 0 {
		return "https://"
	}
	return "http://"
}

func (e *node) start() {
	e.t.Helper()
	e.p = run(e.t, "etcd "+e.name, append([]string{"etcd", "--name", e.name, "--data-dir", e.dir,
		"--listen-client-urls", e.scheme() + e.client, "--advertise-client-urls", e.scheme() + e.near.addr(),
		"--listen-peer-urls", "http://" + e.peerAddr, "--initial-advertise-peer-urls", "http://" + e.peer.addr(),
		"--initial-cluster", e.list, "--heartbeat-interval", "50", "--election-timeout", "500",
		"--unsafe-no-fsync", "--log-level", "error", "--logger", "zap"}, e.extra...)...)
}

// store is what the tests write into and compare with: all nodes, directly.
type store struct {
	t      testing.TB
	client *clientv3.Client
	next   atomic.Int64 // number of the next write
}

func openStore(t testing.TB, conf *tls.Config, all ...*node) *store {
	t.Helper()
	var urls []string
	for _, e := range all {
		urls = append(urls, e.scheme()+e.client)
	}
	s := &store{t: t}
	eventually(t, "etcd", func() (err error) {
		s.client, err = clientv3.New(clientv3.Config{Endpoints: urls, TLS: conf,
			DialTimeout: time.Second, DialKeepAliveTime: 10 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err = s.client.Get(ctx, "x"); err != nil {
			s.client.Close()
		}
		return err
	})
	t.Cleanup(func() { s.client.Close() })
	return s
}

func key(id string) string { return prefix + "/routes/" + id }

// put writes a route with a text that no other write has.
func (s *store) put(id string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := s.client.Put(ctx, key(id), s.route(id))
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}

func (s *store) route(id string) string {
	return fmt.Sprintf(`{"uri":"/changing/%s","name":"write %d","plugins":{}}`, id, s.next.Add(1))
}

func (s *store) mustPut(id string) int64 {
	s.t.Helper()
	var rev int64
	eventually(s.t, "a write", func() (err error) { rev, err = s.put(id); return err })
	return rev
}

// seed makes the route that must always answer, and some others.
func (s *store) seed(upstream string) {
	s.t.Helper()
	text := fmt.Sprintf(`{"uri":"/always","upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, upstream)
	eventually(s.t, "the first write", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := s.client.Put(ctx, key("always"), text)
		return err
	})
	for i := range 100 {
		s.mustPut(fmt.Sprint("seed", i))
	}
}

// digest is what the store holds.
func (s *store) digest() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r, err := s.client.Get(ctx, prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return "", err
	}
	b := configcenter.Batch{Rev: r.Header.Revision, Full: true}
	for _, kv := range r.Kvs {
		if k, id, ok := configcenter.ParsePath(strings.TrimPrefix(string(kv.Key), prefix)); ok && string(kv.Value) != "init_dir" {
			b.Changes = append(b.Changes, configcenter.Change{Kind: k, ID: id, Value: kv.Value, Create: kv.CreateRevision, Mod: kv.ModRevision})
		}
	}
	snap, bad := (*configcenter.Snapshot)(nil).Next(b)
	if len(bad) > 0 {
		return "", fmt.Errorf("the store holds what cannot be used: %v", bad)
	}
	return snap.Digest(), nil
}

// writer changes routes until it is stopped.
type writer struct {
	stop chan struct{}
	wg   sync.WaitGroup
	done atomic.Int64 // writes that may have been done, each of them a change of an object
}

// write begins to write perSecond changes, some of them deletions.
func (s *store) write(perSecond int) *writer {
	w := &writer{stop: make(chan struct{})}
	w.wg.Go(func() {
		const batch = 10
		tick := time.NewTicker(time.Second * batch / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			s.writeSome(w, i*batch, batch)
		}
	})
	return w
}

// writeSome changes n routes, from number i on, in one transaction.
func (s *store) writeSome(w *writer, i, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var ops []clientv3.Op
	for j := i; j < i+n; j++ {
		id := fmt.Sprint("w", j%200)
		if j%7 == 0 {
			ops = append(ops, clientv3.OpDelete(key(id)))
		} else {
			ops = append(ops, clientv3.OpPut(key(id), s.route(id)))
		}
	}
	w.done.Add(int64(n)) // also of one that failed: nobody knows
	_, _ = s.client.Txn(ctx).Then(ops...).Commit()
}

func (w *writer) end() int64 {
	close(w.stop)
	w.wg.Wait()
	return w.done.Load()
}

var errNot = errors.New("not yet")

func hostPort(addr string) (string, string) {
	host, port, _ := net.SplitHostPort(addr)
	return host, port
}
