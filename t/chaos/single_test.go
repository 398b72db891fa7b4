package chaos

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestOneStore breaks a single etcd, and what is between it and two gateways.
func TestOneStore(t *testing.T) {
	t.Parallel()
	e := nodes(t, 1)[0]
	e.start()
	s := openStore(t, nil, e)
	s.seed(upstream(t))
	endpoint := []string{"http://" + e.near.addr()}
	f := newFleet(t, s, newGateway(t, "one", endpoint, "", ""), newGateway(t, "two", endpoint, "", ""))
	restarted := newGateway(t, "restarted", endpoint, "", "")
	b := &oneStore{t, e, s, f, restarted}
	f.fault("etcd killed", b.killed)
	f.fault("etcd paused", b.paused)
	f.fault("network held", b.held)
	f.fault("network slow", b.slow)
	f.fault("compacted while cut off", b.compacted)
	f.fault("disk full", b.full)
	f.fault("1,000 changes a second", b.burst)
	f.fault("restored from an old snapshot", b.restored)
	f.fault("all data lost, then restored", b.lost)
	f.memory()
}

type oneStore struct {
	t         *testing.T
	e         *node
	s         *store
	f         *fleet
	restarted *gateway
}

// killed: the gateways go on; one that is started meanwhile serves from disk.
func (b *oneStore) killed() int64 {
	eventually(b.t, "the last good version on disk", func() error {
		_, err := os.Stat(filepath.Join(b.restarted.dir, "data", "lastgood"))
		return err
	})
	w := b.s.write(100)
	last(either(500*time.Millisecond, 3*time.Second))
	b.e.p.kill()
	b.f.await("the loss", func(s state) bool { return !s.Reachable })
	b.restarted.p.kill()
	b.restarted.start()
	eventually(b.t, "an answer from disk", func() error { return try(&asking, b.restarted.addr) })
	if st, err := b.restarted.state(); err != nil || st.Origin != "disk" {
		b.t.Errorf("started without a store: %+v, %v", st, err)
	}
	last(either(0, 15*time.Second))
	n := w.end()
	b.e.start()
	b.s.mustPut("after")
	return n + 1
}

func (b *oneStore) paused() int64 {
	w := b.s.write(100)
	last(either(300*time.Millisecond, 2*time.Second))
	b.e.p.signal(syscall.SIGSTOP)
	last(either(2*time.Second, 40*time.Second)) // longer than a silence that is noticed
	b.e.p.signal(syscall.SIGCONT)
	return w.end()
}

func (b *oneStore) held() int64 {
	w := b.s.write(100)
	b.e.near.hold()
	last(either(2*time.Second, 40*time.Second))
	b.e.near.release()
	return w.end()
}

func (b *oneStore) slow() int64 {
	w := b.s.write(100)
	b.e.near.slow(100 * time.Millisecond)
	last(either(2*time.Second, 30*time.Second))
	n := w.end()
	b.e.near.release()
	return n
}

func (b *oneStore) compacted() int64 {
	b.e.near.cut()
	b.f.await("the loss", func(s state) bool { return !s.Reachable })
	w := b.s.write(200)
	last(either(500*time.Millisecond, 5*time.Second))
	n := w.end()
	rev := b.s.mustPut("after")
	if _, err := b.s.client.Compact(context.Background(), rev, clientv3.WithCompactPhysical()); err != nil {
		b.t.Fatal(err)
	}
	b.e.near.mend()
	return n + 1
}

// full: writes are refused, the gateways go on, and follow once there is space.
func (b *oneStore) full() int64 {
	alarm := func(a etcdserverpb.AlarmRequest_AlarmAction) {
		_, err := etcdserverpb.NewMaintenanceClient(b.s.client.ActiveConnection()).Alarm(context.Background(),
			&etcdserverpb.AlarmRequest{Action: a, Alarm: etcdserverpb.AlarmType_NOSPACE})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	alarm(etcdserverpb.AlarmRequest_ACTIVATE)
	if _, err := b.s.put("refused"); !errors.Is(err, rpctypes.ErrNoSpace) {
		b.t.Errorf("a full store takes a write: %v", err)
	}
	b.e.near.cut() // what gateways read anew, a full store must give too
	b.e.near.mend()
	last(either(500*time.Millisecond, 10*time.Second))
	if _, err := b.s.client.AlarmDisarm(context.Background(), &clientv3.AlarmMember{}); err != nil {
		b.t.Fatal(err)
	}
	b.s.mustPut("after")
	return 2
}

func (b *oneStore) burst() int64 {
	w := b.s.write(1000)
	last(either(3*time.Second, time.Minute))
	return w.end()
}

// restored: the store goes back to older revisions and fewer objects.
func (b *oneStore) restored() int64 {
	file := b.snapshot()
	w := b.s.write(200)
	last(either(500*time.Millisecond, 5*time.Second))
	n := w.end()
	b.s.mustPut("gone with the restore")
	b.f.converge("before the restore")
	b.e.p.kill()
	b.restore(file)
	b.e.start()
	b.s.mustPut("after")
	return 2*(n+1) + 1 // each may be taken back
}

// lost: an etcd without any data does not take the configuration away.
func (b *oneStore) lost() int64 {
	file := b.snapshot()
	b.e.p.kill()
	if err := os.RemoveAll(b.e.dir); err != nil {
		b.t.Fatal(err)
	}
	b.e.start()
	b.f.await("the loss", func(s state) bool { return !s.Reachable && s.Error != "" })
	last(either(500*time.Millisecond, 10*time.Second))
	b.e.p.kill()
	b.restore(file)
	b.e.start()
	b.s.mustPut("after")
	return 1
}

func (b *oneStore) snapshot() string {
	r, err := b.s.client.Snapshot(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	f, err := os.Create(filepath.Join(b.t.TempDir(), "snapshot"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		b.t.Fatal(err)
	}
	return f.Name()
}

func (b *oneStore) restore(file string) {
	if err := os.RemoveAll(b.e.dir); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("etcdctl", "snapshot", "restore", file, "--name", b.e.name, "--data-dir", b.e.dir,
		"--initial-cluster", b.e.list, "--initial-advertise-peer-urls", "http://"+b.e.peer.addr(),
		"--initial-cluster-token", filepath.Base(b.t.TempDir()))
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}
