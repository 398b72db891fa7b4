package relay_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/relay"
)

var (
	operations = flag.Int("operations", 200, "how many operations the comparison with etcd makes")
	seed       = flag.Uint64("seed", 1, "of the comparison with etcd; 0: a new one")
)

// What is watched through the relay is what is watched in etcd: the same
// watches on both, while one of them is written to.
func TestSame(t *testing.T) {
	t.Parallel()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", s)
	etcd := realEtcd(t)
	c := &comparison{t: t, ctx: soon(t), random: rand.New(rand.NewPCG(s, 0)),
		relay: dial(t, start(t, relay.Config{Endpoints: []string{etcd}})), etcd: dial(t, etcd)}
	for c.done = range *operations {
		c.step()
	}
	c.sync()
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	c := must(grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32))))(t)
	t.Cleanup(func() { c.Close() })
	return c
}

// comparison makes operations through the relay and beside it.
type comparison struct {
	t           *testing.T
	ctx         context.Context
	random      *rand.Rand
	relay, etcd *grpc.ClientConn
	streams     []*double
	rev         int64
	compacted   int64
	done        int
	marks       int
}

// double is a watch stream in the relay and one in etcd that are asked the same.
type double struct {
	c          *comparison
	ours, etcd *listener
	ids        int64
}

// listener is a watch stream and what came from it, by watch.
type listener struct {
	pb.Watch_WatchClient
	came chan *pb.WatchResponse // closed at the end of the stream
	seen map[int64]*strings.Builder
	told int64 // the revision in the last answer about progress
}

func (c *comparison) maybe(percent int) bool { return c.random.IntN(100) < percent }

func (c *comparison) kv() pb.KVClient {
	if c.maybe(50) {
		return pb.NewKVClient(c.relay)
	}
	return pb.NewKVClient(c.etcd)
}

func (c *comparison) key() []byte {
	return fmt.Appendf(nil, "/%c/%d", 'a'+c.random.IntN(3), c.random.IntN(6))
}

func (c *comparison) end() []byte {
	switch n := c.random.IntN(10); {
	case n < 3:
		return nil
	case n < 5:
		return []byte{0}
	case n < 8:
		return []byte("/d")
	}
	return c.key()
}

func (c *comparison) step() {
	switch n := c.random.IntN(100); {
	case n < 45:
		a := must(c.kv().Put(c.ctx, &pb.PutRequest{Key: c.key(), Value: fmt.Appendf(nil, "v%d", c.done)}))(c.t)
		c.rev = a.Header.Revision
	case n < 55:
		a := must(c.kv().DeleteRange(c.ctx, &pb.DeleteRangeRequest{Key: c.key(), RangeEnd: c.end()}))(c.t)
		c.rev = a.Header.Revision
	case n < 65:
		q := &pb.TxnRequest{}
		for _, k := range c.random.Perm(18)[:1+c.random.IntN(5)] {
			p := &pb.PutRequest{Key: fmt.Appendf(nil, "/%c/%d", 'a'+k/6, k%6), Value: make([]byte, c.random.IntN(100_000)), IgnoreLease: false}
			q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}})
		}
		c.rev = must(c.kv().Txn(c.ctx, q))(c.t).Header.Revision
	case n < 85:
		c.watch()
	case n < 92:
		if len(c.streams) > 0 {
			c.streams[c.random.IntN(len(c.streams))].cancel()
		}
	case n < 96:
		if len(c.streams) > 0 {
			c.streams[c.random.IntN(len(c.streams))].progress()
		}
	default:
		c.compact()
	}
}

func (c *comparison) compact() {
	rev := c.rev - 20 - int64(c.random.IntN(40))
	if rev <= c.compacted {
		return
	}
	for _, d := range c.streams {
		d.settle()
	}
	must(c.kv().Compact(c.ctx, &pb.CompactionRequest{Revision: rev}))(c.t)
	c.compacted = rev
}

func (c *comparison) sync() {
	for _, d := range c.streams {
		d.sync()
	}
}

func (c *comparison) listen(conn *grpc.ClientConn) *listener {
	l := &listener{must(pb.NewWatchClient(conn).Watch(c.ctx))(c.t), make(chan *pb.WatchResponse), map[int64]*strings.Builder{}, 0}
	go func() { // ends with the comparison
		defer close(l.came)
		for {
			m, err := l.Recv()
			if err != nil {
				return
			}
			select {
			case l.came <- m:
			case <-c.ctx.Done():
				return
			}
		}
	}()
	return l
}

// watch adds a watch to a stream on both sides, of the past often.
func (c *comparison) watch() {
	if len(c.streams) < 3 {
		d := &double{c: c, ours: c.listen(c.relay), etcd: c.listen(c.etcd)}
		c.streams = append(c.streams, d)
		d.create(&pb.WatchCreateRequest{Key: []byte("none")})
	}
	d := c.streams[c.random.IntN(len(c.streams))]
	q := &pb.WatchCreateRequest{Key: c.key(), RangeEnd: c.end(), PrevKv: c.maybe(50), ProgressNotify: c.maybe(20), Fragment: c.maybe(50)}
	switch n := c.random.IntN(20); {
	case n == 0:
		q.StartRevision = -1
	case n == 1:
		q.StartRevision = c.rev + 5
	case n < 15:
		// What etcd has forgotten the relay may still know: not to be compared.
		q.StartRevision = max(1, c.compacted+1, c.rev-int64(c.random.IntN(80)))
	}
	if c.maybe(10) {
		q.Key = nil
	}
	if c.maybe(30) {
		q.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_FilterType(c.random.IntN(2))}
	}
	if c.maybe(20) {
		q.WatchId = int64(500 + c.random.IntN(4))
	}
	d.create(q)
}

func (d *double) send(q *pb.WatchRequest) {
	d.c.t.Helper()
	if err := errors.Join(d.ours.Send(proto.Clone(q).(*pb.WatchRequest)), d.etcd.Send(q)); err != nil {
		d.c.t.Fatal(err)
	}
}

func (d *double) create(q *pb.WatchCreateRequest) {
	d.sync()
	if q.WatchId != 0 && d.etcd.seen[q.WatchId] != nil && strings.Contains(d.etcd.seen[q.WatchId].String(), "compacted at") {
		return // etcd still knows that watch, which is a difference that nobody needs
	}
	d.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
	d.await((*pb.WatchResponse).GetCreated)
	d.ids++
	d.sync()
}

func (d *double) cancel() {
	d.sync()
	id := 1 + d.c.random.Int64N(max(1, d.ids))
	seen := d.etcd.seen[id]
	if seen == nil || !strings.Contains(seen.String(), "created") || strings.Contains(seen.String(), "canceled") {
		return
	}
	d.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	d.await((*pb.WatchResponse).GetCanceled)
	d.sync()
}

// progress asks the relay how far it is, and it is where etcd was.
func (d *double) progress() {
	d.sync()
	if err := d.ours.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
		d.c.t.Fatal(err)
	}
	for d.ours.told < d.c.rev {
		m, ok := <-d.ours.came
		if !ok {
			d.c.t.Fatal("the stream has ended before it told the revision")
		}
		d.ours.note(m)
	}
}

// settle returns when both have told everything, watches of the past too: a
// compaction would be in their way.
func (d *double) settle() {
	d.c.t.Helper()
	until(d.c.t, "all watches have caught up", func() bool {
		d.sync()
		d.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		soon := time.After(200 * time.Millisecond)
		for d.ours.told < d.c.rev || d.etcd.told < d.c.rev {
			select {
			case m := <-d.ours.came:
				d.ours.note(m)
			case m := <-d.etcd.came:
				d.etcd.note(m)
			case <-soon:
				return false
			}
		}
		return true
	})
	d.sync()
}

// sync writes a key that the stream's first watch sees, and waits until both
// have told of it and everything else.
func (d *double) sync() {
	d.c.t.Helper()
	if d.etcd.seen[0] == nil {
		return
	}
	d.c.marks++
	mark := fmt.Sprintf("mark %d.", d.c.marks)
	d.c.rev = must(d.c.kv().Put(d.c.ctx, &pb.PutRequest{Key: []byte("none"), Value: []byte(mark)}))(d.c.t).Header.Revision
	deadline := time.After(patience / 3)
	for {
		id, same := d.differs()
		if same && strings.Contains(d.etcd.seen[0].String(), mark) {
			return
		}
		select {
		case m := <-d.ours.came:
			d.ours.note(m)
		case m := <-d.etcd.came:
			d.etcd.note(m)
		case <-deadline:
			got, want := fmt.Sprint(d.ours.seen[id]), fmt.Sprint(d.etcd.seen[id])
			n := 0
			for n < min(len(got), len(want)) && got[n] == want[n] {
				n++
			}
			d.c.t.Fatalf("operation %d: watch %d\nsame %s\n got %s\nwant %s", d.c.done, id, got[max(0, n-300):n], got[n:], want[n:])
		}
	}
}

func (d *double) differs() (id int64, same bool) {
	for id := range d.etcd.seen {
		if d.ours.seen[id] == nil || d.ours.seen[id].String() != d.etcd.seen[id].String() {
			return id, false
		}
	}
	return 0, len(d.ours.seen) == len(d.etcd.seen)
}

func (d *double) await(is func(*pb.WatchResponse) bool) {
	d.c.t.Helper()
	for _, l := range []*listener{d.ours, d.etcd} {
		for done := false; !done; {
			m, ok := <-l.came
			if !ok {
				d.c.t.Fatal("the stream has ended")
			}
			l.note(m)
			done = is(m)
		}
	}
}

func (l *listener) note(m *pb.WatchResponse) {
	if m == nil {
		return // the stream has ended
	}
	if len(m.Events) == 0 && !m.Created && !m.Canceled {
		if m.WatchId == -1 {
			l.told = m.Header.Revision
		}
		return
	}
	seen := l.seen[m.WatchId]
	if seen == nil {
		seen = &strings.Builder{}
		l.seen[m.WatchId] = seen
	}
	for _, e := range m.Events {
		for _, kv := range []*[]byte{&e.Kv.Value} {
			if len(*kv) > 100 {
				*kv = fmt.Appendf(nil, "%d bytes", len(*kv))
			}
		}
		if e.PrevKv != nil && len(e.PrevKv.Value) > 100 {
			e.PrevKv.Value = fmt.Appendf(nil, "%d bytes", len(e.PrevKv.Value))
		}
		text, err := prototext.MarshalOptions{Multiline: true}.Marshal(e)
		seen.WriteString(strings.ReplaceAll(string(text), "  ", " ") + fmt.Sprintln(err))
	}
	if m.Created {
		fmt.Fprintln(seen, "created", m.CancelReason)
	}
	if m.Canceled && m.CompactRevision > 0 {
		fmt.Fprintln(seen, "canceled, compacted at", m.CompactRevision)
	} else if m.Canceled {
		fmt.Fprintln(seen, "canceled")
	}
}
