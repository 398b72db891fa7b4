package t

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// sharedStore is one etcd for all scenarios: starting one for each would cost
// more than most of them. Each uses a prefix of its own.
var sharedStore = sync.OnceValues(func() (*clientv3.Client, error) {
	dir, err := sharedDir()
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.UnsafeNoFsync = filepath.Join(dir, "etcd"), "fatal", true
	cfg.TickMs, cfg.ElectionMs = 10, 100
	free, _ := url.Parse("http://127.0.0.1:0")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*free}, []url.URL{*free}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*free}, []url.URL{*free}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	shared.mu.Lock()
	shared.stop = append(shared.stop, e.Close)
	shared.mu.Unlock()
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(limit):
		return nil, errors.New("etcd does not start")
	}
	return clientv3.New(clientv3.Config{Endpoints: []string{e.Clients[0].Addr().String()}, DialTimeout: limit, Logger: zap.NewNop()})
})

// storeView is the shared store as one scenario sees it: through a relay that
// can be cut, below a prefix.
type storeView struct {
	prefix string
	addr   string
	target string
	client *clientv3.Client
	cancel context.CancelFunc
	watch  clientv3.WatchChan
	rev    int64 // of the last event below the prefix
	seen   int64 // everything up to here was seen

	relayed *exec.Cmd // an etcd relay between the gateway and the store

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

func newStoreView(ip string, store func() (*clientv3.Client, error)) (*storeView, error) {
	c, err := store()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &storeView{prefix: "/" + ip, addr: fmt.Sprintf("%s:%d", ip, relayPort), target: c.Endpoints()[0], client: c, cancel: cancel, conns: map[net.Conn]bool{}}
	v.watch = c.Watch(clientv3.WithRequireLeader(ctx), v.prefix+"/", clientv3.WithPrefix(), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	return v, v.open()
}

// revision is that of the last write below the prefix, deletions included.
func (v *storeView) revision() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	now, err := v.client.Get(ctx, v.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for v.seen < now.Header.Revision {
		select {
		case w, ok := <-v.watch:
			if !ok || w.Err() != nil {
				return 0, fmt.Errorf("watch ended: %w", w.Err())
			}
			for _, e := range w.Events {
				v.rev = max(v.rev, e.Kv.ModRevision)
			}
			if w.IsProgressNotify() {
				v.seen = w.Header.Revision
			} else if len(w.Events) > 0 {
				v.seen = v.rev
			}
		case <-tick.C:
			if err := v.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("revision %d not seen: %w", now.Header.Revision, ctx.Err())
		}
	}
	return v.rev, nil
}

// open starts the relay.
func (v *storeView) open() error {
	l, err := net.Listen("tcp", v.addr)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.listener = l
	v.mu.Unlock()
	go func() { // ends when l closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go v.relay(c)
		}
	}()
	return nil
}

func (v *storeView) relay(c net.Conn) {
	v.mu.Lock()
	target := v.target
	v.mu.Unlock()
	up, err := net.Dial("tcp", target)
	if err != nil {
		c.Close()
		return
	}
	v.mu.Lock()
	v.conns[c], v.conns[up] = true, true
	v.mu.Unlock()
	go func() { // ends when either side closes
		io.Copy(up, c)
		up.Close()
	}()
	io.Copy(c, up)
	c.Close()
	v.mu.Lock()
	delete(v.conns, c)
	delete(v.conns, up)
	v.mu.Unlock()
}

// cut closes the relay and every connection through it.
func (v *storeView) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener != nil {
		v.listener.Close()
	}
	for c := range v.conns {
		c.Close()
	}
}

func (v *storeView) close() {
	v.cut()
	v.cancel()
	if v.relayed != nil {
		v.relayed.Process.Kill()
		v.relayed.Wait()
	}
}

// behind puts an etcd relay, the real one, before the store.
func (v *storeView) behind(dir, addr string) error {
	if v.relayed != nil {
		return nil
	}
	bin, err := binary()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "relay.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(bin, "etcd-relay", "--endpoints", v.target, "--listen-addr", addr)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	v.mu.Lock()
	v.relayed, v.target = cmd, addr
	v.mu.Unlock()
	return poll(limit, func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// revision of the last write of this scenario.
func (s *scenario) revision() (int64, error) {
	if s.gateway.rev != nil {
		return s.gateway.rev(), nil
	}
	if s.store != nil {
		return s.store.revision()
	}
	return storeRevision(fmt.Sprintf("%s:%d", s.ip, storePort))
}

// storeRevision asks a gateway's own etcd.
func storeRevision(addr string) (int64, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: limit, Logger: zap.NewNop()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := c.Get(ctx, "/apisix", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}

// store down cuts the gateway off from its store, store up connects it again;
// store KEY TEXT writes behind the Admin API's back.
func storeVerb(s *scenario, not bool, args []string) error {
	if err := s.up(); err != nil {
		return err
	}
	if s.store == nil || not || len(args) == 0 {
		return errors.New("usage: store down | up | KEY TEXT | KEY (to delete), with the shared store")
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	switch {
	case args[0] == "down":
		s.store.cut()
		return nil
	case args[0] == "up":
		return s.store.open()
	case len(args) == 1:
		_, err := s.store.client.Delete(ctx, s.store.prefix+"/"+args[0])
		s.dirty = true
		return err
	}
	text, err := s.text(args[1])
	if err == nil {
		_, err = s.store.client.Put(ctx, s.store.prefix+"/"+args[0], text)
	}
	s.dirty = true
	return err
}
