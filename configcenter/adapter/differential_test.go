package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/mvcc"
)

var (
	operations = flag.Int("operations", 600, "how many operations the comparison with etcd makes on each store")
	seed       = flag.Uint64("seed", 0, "of the comparison with etcd; 0: a new one")
)

// roundOperations is how many operations an empty store gets before it is left
// for another.
const roundOperations = 1500

// The same random operations on an adapter and on an etcd have the same
// answers, over gRPC and JSON, and the same events come out of both.
func TestLikeEtcd(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			for left := *operations; left > 0 && !t.Failed(); left -= roundOperations {
				t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { compare(t, kind.Open(t), s, min(left, roundOperations)) })
				s++
			}
		})
	}
}

func compare(t *testing.T, b mvcc.Backend, seed uint64, operations int) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	p := &pairing{t: t, ctx: ctx, random: rand.New(rand.NewPCG(seed, 0)), compactions: map[int64]bool{}, deadly: map[int64]bool{}, ours: dial(t, serve(t, b)), etcd: dial(t, realEtcd(t))}
	for p.done < operations && !t.Failed() {
		p.step()
		p.done++
	}
	p.sync()
	if t.Failed() {
		t.Logf("-seed=%d", seed)
	}
}

// pairing makes operations on both sides and compares what they say.
type pairing struct {
	t          *testing.T
	ctx        context.Context
	random     *rand.Rand
	ours, etcd *side
	done       int
	rev        int64 // of the stores, as far as is known
	compacted  int64 // the newest that was asked for
	leases     []int64
	watches    []*watching
	syncs      int

	compactions map[int64]bool // all that were asked for
	deadly      map[int64]bool // revisions at which a compaction is not to be asked for
}

func (p *pairing) step() {
	switch n := p.random.IntN(100); {
	case n < 28:
		p.same(p.put())
	case n < 48:
		p.same(p.get())
	case n < 56:
		p.same(p.remove())
	case n < 80:
		r := tame(p.txn(3))
		p.same(r)
		p.deadly[p.rev] = p.deadly[p.rev] || rewrites(r)
	case n < 90:
		p.lease()
	case n < 94:
		p.watch()
	case n < 96:
		if len(p.watches) > 0 {
			p.watches[p.random.IntN(len(p.watches))].drop()
		}
	case n < 97:
		if len(p.watches) > 0 {
			p.watches[p.random.IntN(len(p.watches))].settle()
		}
	case n < 98:
		p.maintain()
	case n < 99:
		p.stream(p.get())
	default:
		p.compact()
	}
}

// do makes a request of any kind.
func (s *side) do(ctx context.Context, m proto.Message) (proto.Message, error) {
	switch r := m.(type) {
	case *pb.PutRequest:
		return s.Put(ctx, r)
	case *pb.RangeRequest:
		return s.Range(ctx, r)
	case *pb.DeleteRangeRequest:
		return s.DeleteRange(ctx, r)
	case *pb.TxnRequest:
		return s.Txn(ctx, r)
	case *pb.CompactionRequest:
		return s.Compact(ctx, r)
	case *pb.LeaseGrantRequest:
		return s.LeaseGrant(ctx, r)
	case *pb.LeaseRevokeRequest:
		return s.LeaseRevoke(ctx, r)
	case *pb.LeaseTimeToLiveRequest:
		return s.LeaseTimeToLive(ctx, r)
	case *pb.LeaseLeasesRequest:
		return s.LeaseLeases(ctx, r)
	case *pb.LeaseKeepAliveRequest:
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		k, err := s.LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		if err := k.Send(r); err != nil {
			return nil, err
		}
		return k.Recv()
	case *pb.HashKVRequest:
		return s.HashKV(ctx, r)
	case *pb.AlarmRequest:
		return s.Alarm(ctx, r)
	}
	return s.manage(ctx, m)
}

// same makes the request on both sides, over gRPC or over JSON.
func (p *pairing) same(r proto.Message) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	var got, want, how string
	if path := jsonPath(r); path != "" && p.maybe(15) {
		how = "POST " + path
		got, want = p.post(ctx, p.ours, path, r), p.post(ctx, p.etcd, path, r)
	} else {
		how = fmt.Sprintf("%T", r)
		a, errA := p.ours.do(ctx, proto.Clone(r))
		b, errB := p.etcd.do(ctx, proto.Clone(r))
		got, want = p.shown(a, errA), p.shown(b, errB)
	}
	if got != want {
		p.t.Errorf("operation %d: %s %s\n got %s\nwant %s", p.done, how, prototext.Format(r), got, want)
	}
}

// shown is an answer without what tells servers apart.
func (p *pairing) shown(m proto.Message, err error) string {
	if err != nil {
		s, _ := status.FromError(err)
		return fmt.Sprint("error ", s.Code(), " ", s.Message())
	}
	if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		h.GetHeader().ClusterId, h.GetHeader().MemberId, h.GetHeader().RaftTerm = 0, 0, 0
		p.rev = max(p.rev, h.GetHeader().Revision)
	}
	switch m := m.(type) {
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(m.Keys, bytes.Compare)
		m.TTL = min(m.TTL, 0)
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return int(a.ID - b.ID) })
	case *pb.AuthenticateResponse:
		m.Token = ""
	}
	return text(m)
}

// text is a message without the spaces that prototext puts in at random.
func text(m proto.Message) string {
	text, err := prototext.MarshalOptions{Multiline: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(bytes.ReplaceAll(text, []byte("  "), []byte(" ")))
}

// maintain asks what operators ask.
func (p *pairing) maintain() {
	if p.maybe(10) {
		p.same(&pb.AlarmRequest{})
		return
	}
	r := &pb.HashKVRequest{}
	if p.maybe(50) {
		r.Revision = p.aRevision()
	}
	if p.compactions[r.Revision] { // etcd then answers what it calculated while it compacted
		r.Revision = 0
	}
	p.same(r)
}

// stream compares ranges that come in parts; how large they are is the
// server's choice. A target without an order makes etcd sort within the parts,
// and go on from a wrong key: that is not compared.
func (p *pairing) stream(r *pb.RangeRequest) {
	p.t.Helper()
	if r.SortOrder == pb.RangeRequest_NONE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	if got, want := p.whole(p.ours, r), p.whole(p.etcd, r); got != want {
		p.t.Errorf("operation %d: RangeStream %s\n got %s\nwant %s", p.done, prototext.Format(r), got, want)
	}
}

func (p *pairing) whole(s *side, r *pb.RangeRequest) string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	in, err := s.RangeStream(ctx, r)
	if err != nil {
		return p.shown(nil, err)
	}
	all := &pb.RangeResponse{}
	for {
		part, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return p.shown(all, nil)
		}
		if err != nil {
			return p.shown(nil, err)
		}
		proto.Merge(all, part.RangeResponse)
	}
}

func (p *pairing) lease() {
	id := p.aLease()
	switch p.random.IntN(6) {
	case 0, 1:
		r := &pb.LeaseGrantRequest{ID: int64(1 + p.random.IntN(50)), TTL: []int64{-1, 1, 5000, 10_000_000_000}[p.random.IntN(4)]}
		if r.TTL < 5 {
			r.TTL, r.ID = 5000, int64(1+p.random.IntN(9)) // often there already
		}
		if r.TTL == 5000 && !slices.Contains(p.leases, r.ID) {
			p.leases = append(p.leases, r.ID)
		}
		p.same(r)
	case 2:
		if p.maybe(50) {
			return // fewer ends than beginnings
		}
		p.leases = slices.DeleteFunc(p.leases, func(l int64) bool { return l == id })
		p.same(&pb.LeaseRevokeRequest{ID: id})
	case 3:
		p.same(&pb.LeaseTimeToLiveRequest{ID: id, Keys: p.maybe(80)})
	case 4:
		p.same(&pb.LeaseLeasesRequest{})
	case 5:
		p.same(&pb.LeaseKeepAliveRequest{ID: id})
	}
}

// compact comes after every watch has told of what it may compact: what a key was
// before an event is known no more from then on, to whichever side is later.
func (p *pairing) compact() {
	p.sync()
	told := p.rev
	for _, w := range p.watches {
		w.settle()
	}
	r := &pb.CompactionRequest{Revision: p.rev - 20 - int64(p.random.IntN(10)), Physical: p.maybe(70)}
	switch {
	case p.maybe(10):
		r.Revision = p.rev + 1
	case p.maybe(10):
		r.Revision = p.compacted
	case p.maybe(5):
		r.Revision = told
	}
	if r.Revision < 1 || p.deadly[r.Revision] {
		return
	}
	p.compactions[r.Revision] = true
	if r.Revision <= p.rev {
		p.compacted = max(p.compacted, r.Revision)
	}
	p.same(r)
}
