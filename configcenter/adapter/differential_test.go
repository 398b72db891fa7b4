package adapter_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/backendtest"
)

var (
	operations = flag.Int("operations", 300, "how many operations the comparison with etcd makes on each store")
	seed       = flag.Uint64("seed", 1, "of the comparison with etcd; 0: a new one")
)

// The same random operations on an adapter and on an etcd have the same
// answers, and the same events come out of both.
func TestLikeEtcd(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			t.Logf("-seed=%d", s)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			p := &pairing{t: t, ctx: ctx, random: rand.New(rand.NewPCG(s, 0)), ours: dial(t, serve(t, kind.Open(t))), etcd: dial(t, realEtcd(t))}
			for p.done < *operations && !t.Failed() {
				p.step()
				p.done++
			}
			p.sync()
		})
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
	compacted  int64
	leases     []int64
	watches    []*watching
	syncs      int
}

func (p *pairing) step() {
	switch n := p.random.IntN(100); {
	case n < 30:
		p.same("put", p.put(), call(func(s *side) func(context.Context, *pb.PutRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.PutRequest) (proto.Message, error) { return s.Put(ctx, r) }
		}))
	case n < 50:
		p.same("range", p.get(), call(func(s *side) func(context.Context, *pb.RangeRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.RangeRequest) (proto.Message, error) { return s.Range(ctx, r) }
		}))
	case n < 58:
		p.same("delete", p.remove(), call(func(s *side) func(context.Context, *pb.DeleteRangeRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.DeleteRangeRequest) (proto.Message, error) {
				return s.DeleteRange(ctx, r)
			}
		}))
	case n < 83:
		p.same("txn", p.txn(3), call(func(s *side) func(context.Context, *pb.TxnRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.TxnRequest) (proto.Message, error) { return s.Txn(ctx, r) }
		}))
	case n < 93:
		p.lease()
	case n < 97:
		p.watch()
	case n < 99:
		if len(p.watches) > 0 {
			p.watches[p.random.IntN(len(p.watches))].drop()
		}
	default:
		p.compact()
	}
}

// call makes a method of both sides something that same can call.
func call[R proto.Message](method func(*side) func(context.Context, R) (proto.Message, error)) func(context.Context, *side, proto.Message) (proto.Message, error) {
	return func(ctx context.Context, s *side, r proto.Message) (proto.Message, error) {
		return method(s)(ctx, r.(R))
	}
}

func (p *pairing) same(what string, r proto.Message, do func(context.Context, *side, proto.Message) (proto.Message, error)) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	a, errA := do(ctx, p.ours, proto.Clone(r))
	b, errB := do(ctx, p.etcd, proto.Clone(r))
	if got, want := p.shown(a, errA), p.shown(b, errB); got != want {
		p.t.Errorf("operation %d: %s %s\n got %s\nwant %s", p.done, what, prototext.Format(r), got, want)
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
	}
	text, err := prototext.MarshalOptions{Multiline: true}.Marshal(m)
	return string(bytes.ReplaceAll(text, []byte("  "), []byte(" "))) + fmt.Sprint(err)
}

func (p *pairing) maybe(percent int) bool { return p.random.IntN(100) < percent }

func (p *pairing) key() []byte {
	if p.maybe(1) {
		return nil
	}
	return fmt.Appendf(nil, "/%c/%d", 'a'+p.random.IntN(3), p.random.IntN(6))
}

// end of a range: none, open, empty, or a real one.
func (p *pairing) end() []byte {
	switch n := p.random.IntN(10); {
	case n < 4:
		return nil
	case n < 5:
		return []byte{0}
	case n < 7:
		return []byte("/d")
	}
	return p.key()
}

func (p *pairing) aLease() int64 {
	switch {
	case p.maybe(2):
		return 999_999 // does not exist
	case len(p.leases) > 0 && p.maybe(30):
		return p.leases[p.random.IntN(len(p.leases))]
	}
	return 0
}

// aRevision is mostly a good one.
func (p *pairing) aRevision() int64 {
	if p.maybe(3) {
		return p.rev + int64(p.random.IntN(3))
	}
	if p.rev < 1 {
		return 0
	}
	return max(1, p.rev-int64(p.random.IntN(40)))
}

func (p *pairing) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: p.key(), PrevKv: p.maybe(30), IgnoreValue: p.maybe(8), IgnoreLease: p.maybe(8)}
	if !r.IgnoreValue || p.maybe(5) {
		r.Value = fmt.Appendf(nil, "v%d", p.random.IntN(20))
	}
	if !r.IgnoreLease || p.maybe(5) {
		r.Lease = p.aLease()
	}
	return r
}

func (p *pairing) get() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: p.key(), RangeEnd: p.end(), KeysOnly: p.maybe(15), CountOnly: p.maybe(10), Serializable: p.maybe(20)}
	if p.maybe(30) {
		r.Limit = int64(p.random.IntN(6))
	}
	if p.maybe(25) {
		r.Revision = p.aRevision()
	}
	if p.maybe(30) {
		r.SortOrder = pb.RangeRequest_SortOrder(p.random.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(p.random.IntN(5))
	}
	if p.maybe(2) {
		r.SortOrder = 7
	}
	for _, f := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if p.maybe(8) {
			*f = p.aRevision()
		}
	}
	return r
}

func (p *pairing) remove() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: p.key(), PrevKv: p.maybe(40)}
	if p.maybe(25) {
		r.RangeEnd = p.end()
	}
	return r
}

func (p *pairing) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range p.random.IntN(3) {
		r.Compare = append(r.Compare, p.compare())
	}
	for range p.random.IntN(4) {
		r.Success = append(r.Success, p.op(depth))
	}
	for range p.random.IntN(4) {
		r.Failure = append(r.Failure, p.op(depth))
	}
	return r
}

func (p *pairing) op(depth int) *pb.RequestOp {
	switch n := p.random.IntN(20); {
	case n < 8:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p.put()}}
	case n < 13:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: p.get()}}
	case n < 16:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: p.remove()}}
	case n < 19 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: p.txn(depth - 1)}}
	case p.maybe(3):
		return &pb.RequestOp{}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("/"), RangeEnd: []byte{0}}}}
}

func (p *pairing) compare() *pb.Compare {
	c := &pb.Compare{Key: p.key(), Result: pb.Compare_CompareResult(p.random.IntN(4)), Target: pb.Compare_CompareTarget(p.random.IntN(5))}
	if p.maybe(30) {
		c.RangeEnd = p.end()
	}
	switch c.Target {
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: fmt.Appendf(nil, "v%d", p.random.IntN(20))}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: p.random.Int64N(2) * p.aRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: p.random.Int64N(2) * p.aRevision()}
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: p.random.Int64N(4)}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: p.aLease()}
	}
	return c
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
		p.same("grant", r, call(func(s *side) func(context.Context, *pb.LeaseGrantRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.LeaseGrantRequest) (proto.Message, error) { return s.LeaseGrant(ctx, r) }
		}))
	case 2:
		if p.maybe(50) {
			return // fewer ends than beginnings
		}
		p.leases = slices.DeleteFunc(p.leases, func(l int64) bool { return l == id })
		p.same("revoke", &pb.LeaseRevokeRequest{ID: id}, call(func(s *side) func(context.Context, *pb.LeaseRevokeRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.LeaseRevokeRequest) (proto.Message, error) {
				return s.LeaseRevoke(ctx, r)
			}
		}))
	case 3:
		p.same("time to live", &pb.LeaseTimeToLiveRequest{ID: id, Keys: p.maybe(80)}, call(func(s *side) func(context.Context, *pb.LeaseTimeToLiveRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (proto.Message, error) {
				return s.LeaseTimeToLive(ctx, r)
			}
		}))
	case 4:
		p.same("leases", &pb.LeaseLeasesRequest{}, call(func(s *side) func(context.Context, *pb.LeaseLeasesRequest) (proto.Message, error) {
			return func(ctx context.Context, r *pb.LeaseLeasesRequest) (proto.Message, error) {
				return s.LeaseLeases(ctx, r)
			}
		}))
	case 5:
		p.same("keep alive", &pb.LeaseKeepAliveRequest{ID: id}, func(ctx context.Context, s *side, r proto.Message) (proto.Message, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			k, err := s.LeaseKeepAlive(ctx)
			if err != nil {
				return nil, err
			}
			if err := k.Send(r.(*pb.LeaseKeepAliveRequest)); err != nil {
				return nil, err
			}
			return k.Recv()
		})
	}
}

func (p *pairing) compact() {
	p.sync()
	r := &pb.CompactionRequest{Revision: p.rev - 20 - int64(p.random.IntN(10)), Physical: true}
	switch {
	case p.maybe(10):
		r.Revision = p.rev + 1
	case p.maybe(10):
		r.Revision = p.compacted
	case r.Revision < 1:
		return
	}
	if r.Revision <= p.rev {
		p.compacted = max(p.compacted, r.Revision)
	}
	p.same("compact", r, call(func(s *side) func(context.Context, *pb.CompactionRequest) (proto.Message, error) {
		return func(ctx context.Context, r *pb.CompactionRequest) (proto.Message, error) { return s.Compact(ctx, r) }
	}))
}
