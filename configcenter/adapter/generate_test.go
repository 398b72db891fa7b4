package adapter_test

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

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

// tame is a transaction that an etcd survives. It does not see that a put and
// the deletion of all keys from one on are about the same key, and panics when
// the put is to leave the value or the lease as it was: as often as it starts
// again, too. TestPutAfterDelete says what the adapter does.
func tame(r *pb.TxnRequest) *pb.TxnRequest {
	if rewrites(r) {
		each(r, func(op *pb.RequestOp) {
			if put := op.GetRequestPut(); put != nil {
				put.IgnoreValue, put.IgnoreLease = false, false
			}
		})
	}
	return r
}

// rewrites says whether a transaction may delete a key and then put it. When an
// etcd is compacted at the revision of such a transaction, it loses the put key,
// and ends its process when somebody reads the key. TestCompactAtPutAfterDelete
// says what the adapter does.
func rewrites(r *pb.TxnRequest) bool {
	var open, puts bool
	each(r, func(op *pb.RequestOp) {
		open = open || string(op.GetRequestDeleteRange().GetRangeEnd()) == "\x00"
		puts = puts || op.GetRequestPut() != nil
	})
	return open && puts
}

// each calls f for all operations, also of nested transactions.
func each(r *pb.TxnRequest, f func(*pb.RequestOp)) {
	for _, op := range append(append([]*pb.RequestOp{}, r.Success...), r.Failure...) {
		f(op)
		if t := op.GetRequestTxn(); t != nil {
			each(t, f)
		}
	}
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
