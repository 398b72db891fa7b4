package relay_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"sluice/configcenter/relay"
)

// hasty is an etcd that answers questions for progress as servers before 3.4.25
// and 3.5.8 do: at once, ahead of events that are still to be sent.
type hasty struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	conn *grpc.ClientConn
	late time.Duration // by which events come late
}

func hastyEtcd(t testing.TB, store string) string {
	t.Helper()
	h := &hasty{conn: dial(t, store), late: 50 * time.Millisecond}
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	g := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	pb.RegisterKVServer(g, h)
	pb.RegisterWatchServer(g, h)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }() // ends with the test
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (h *hasty) Range(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	return pb.NewKVClient(h.conn).Range(ctx, q)
}

func (h *hasty) Watch(in pb.Watch_WatchServer) error {
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	up, err := pb.NewWatchClient(h.conn).Watch(ctx)
	if err != nil {
		return err
	}
	control, events, created := make(chan *pb.WatchResponse), make(chan *pb.WatchResponse, 1024), make(chan struct{}, 1)
	answers := func(m *pb.WatchResponse) {
		select {
		case control <- m:
		case <-ctx.Done():
		}
	}
	go func() { // ends with ctx
		for {
			m, err := up.Recv()
			switch {
			case err != nil:
				cancel()
				return
			case m.Created:
				answers(m)
				created <- struct{}{}
			default:
				events <- m
			}
		}
	}()
	go func() { // ends with ctx
		for {
			q, err := in.Recv()
			if err != nil {
				cancel()
				return
			}
			if q.GetProgressRequest() == nil {
				if up.Send(q) == nil && q.GetCreateRequest() != nil {
					select {
					case <-created:
					case <-ctx.Done():
					}
				}
				continue
			}
			if a, err := h.Range(ctx, &pb.RangeRequest{Key: []byte("a"), CountOnly: true}); err == nil {
				answers(&pb.WatchResponse{Header: a.Header, WatchId: -1})
			}
		}
	}()
	return h.send(ctx, in, control, events)
}

// send sends what there is; an event not before its time.
func (h *hasty) send(ctx context.Context, in pb.Watch_WatchServer, control, events <-chan *pb.WatchResponse) error {
	var m *pb.WatchResponse
	var due <-chan time.Time
	for {
		from := events
		if m != nil {
			from = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-control:
			err = in.Send(a)
		case m = <-from:
			due = time.After(h.late)
		case <-due:
			err = in.Send(m)
			m, due = nil, nil
		}
		if err != nil {
			return err
		}
	}
}

// oldEtcd starts the etcd of the system, which is an old one in Debian 12;
// empty when there is none.
func oldEtcd(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("etcd")
	if err != nil {
		return ""
	}
	free := func() string {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		return l.Addr().String()
	}
	addr, peer := free(), free()
	c := exec.Command(program, "--data-dir", t.TempDir(), "--listen-client-urls", "http://"+addr, "--advertise-client-urls", "http://"+addr,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer,
		"--unsafe-no-fsync", "--log-level", "error", "--logger", "zap")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
			t.Error(err)
		}
	})
	return addr
}

// overtaking runs a test behind etcds whose answers about progress overtake events.
func overtaking(t *testing.T, test func(t *testing.T, store *clientv3.Client, upstream string)) {
	t.Run("imitated", func(t *testing.T) {
		store := realEtcd(t)
		test(t, client(t, store), hastyEtcd(t, store))
	})
	t.Run("of the system", func(t *testing.T) {
		store := oldEtcd(t)
		if store == "" {
			t.Log("this system has no etcd")
			return
		}
		c := must(clientv3.New(clientv3.Config{Endpoints: []string{store}, Logger: zap.NewNop()}))(t)
		t.Cleanup(func() { c.Close() })
		must(c.Get(soon(t), "is it there?", clientv3.WithSerializable()))(t)
		test(t, c, store)
	})
}

// A watcher that begins in the past misses nothing where an answer about
// progress may come before the events.
func TestPastOvertaken(t *testing.T) {
	t.Parallel()
	overtaking(t, func(t *testing.T, store *clientv3.Client, upstream string) {
		const rounds, each = 4, 200
		for i := range rounds {
			prefix := fmt.Sprintf("/k/%d/", i)
			first := put(t, store, prefix+"a", "0")
			for n := 1; n < each; n++ {
				put(t, store, prefix+"a", fmt.Sprint(n))
			}
			put(t, store, "/elsewhere", "") // so that the end of the look is no event
			conn := dial(t, start(t, relay.Config{Endpoints: []string{upstream}}))
			q := &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: []byte(prefix + "z"), StartRevision: first}
			w := watch(t, soon(t), conn, q)
			last := put(t, store, prefix+"b", "")
			for n, e := range w.events(each+1, 0) {
				if want := first + int64(n); e.Kv.ModRevision != want && e.Kv.ModRevision != last {
					t.Fatalf("round %d: event %d is of revision %d, not %d", i, n, e.Kv.ModRevision, want)
				}
			}
		}
	})
}

// No answer of the relay about progress comes before the events, and there is one.
func TestProgressOvertaken(t *testing.T) {
	t.Parallel()
	overtaking(t, func(t *testing.T, store *clientv3.Client, upstream string) {
		w := watch(t, soon(t), dial(t, start(t, relay.Config{Endpoints: []string{upstream}})), all)
		for range 5 {
			rev := put(t, store, "/k/a", "")
			behind := put(t, store, "/elsewhere", "")
			if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
				t.Fatal(err)
			}
			got := int64(0)
			for {
				m := w.next()
				if len(m.Events) > 0 {
					got = m.Events[len(m.Events)-1].Kv.ModRevision
				} else if m.Header.Revision >= behind {
					break
				}
			}
			if got != rev {
				t.Fatalf("progress was told to be %d without the event of %d", behind, rev)
			}
		}
	})
}
