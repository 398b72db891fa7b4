package relay

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// rewriters are the handlers of the methods whose messages have keys, when
// there is a namespace.
func (r *Relay) rewriters() map[string]handler {
	if r.cfg.Namespace == "" {
		return nil
	}
	n := &names{prefix: r.cfg.Namespace}
	return map[string]handler{
		pb.KV_RangeStream_FullMethodName: func(in grpc.ServerStream) error {
			return r.carry(in, pb.KV_RangeStream_FullMethodName, made[pb.RangeRequest], made[pb.RangeStreamResponse],
				func(m any) error { return n.read(m.(*pb.RangeRequest)) }, func(m any) { n.rangeOut(m.(*pb.RangeStreamResponse).RangeResponse) })
		},
		pb.KV_Put_FullMethodName:                rewrite(r, pb.KV_Put_FullMethodName, n.put, n.putOut),
		pb.KV_DeleteRange_FullMethodName:        rewrite(r, pb.KV_DeleteRange_FullMethodName, n.remove, n.removeOut),
		pb.KV_Txn_FullMethodName:                rewrite(r, pb.KV_Txn_FullMethodName, n.txn, n.txnOut),
		pb.Lease_LeaseTimeToLive_FullMethodName: rewrite(r, pb.Lease_LeaseTimeToLive_FullMethodName, pass[*pb.LeaseTimeToLiveRequest], n.leaseOut),
		v3lockpb.Lock_Lock_FullMethodName: rewrite(r, v3lockpb.Lock_Lock_FullMethodName,
			func(q *v3lockpb.LockRequest) error { n.in(&q.Name); return nil },
			func(a *v3lockpb.LockResponse) { n.out(&a.Key) }),
		v3lockpb.Lock_Unlock_FullMethodName: rewrite(r, v3lockpb.Lock_Unlock_FullMethodName,
			func(q *v3lockpb.UnlockRequest) error { n.in(&q.Key); return nil }, func(*v3lockpb.UnlockResponse) {}),
		v3electionpb.Election_Campaign_FullMethodName: rewrite(r, v3electionpb.Election_Campaign_FullMethodName,
			func(q *v3electionpb.CampaignRequest) error { n.in(&q.Name); return nil },
			func(a *v3electionpb.CampaignResponse) { n.leaderOut(a.Leader) }),
		v3electionpb.Election_Proclaim_FullMethodName: rewrite(r, v3electionpb.Election_Proclaim_FullMethodName,
			func(q *v3electionpb.ProclaimRequest) error { n.leaderIn(q.Leader); return nil }, func(*v3electionpb.ProclaimResponse) {}),
		v3electionpb.Election_Resign_FullMethodName: rewrite(r, v3electionpb.Election_Resign_FullMethodName,
			func(q *v3electionpb.ResignRequest) error { n.leaderIn(q.Leader); return nil }, func(*v3electionpb.ResignResponse) {}),
		v3electionpb.Election_Leader_FullMethodName: rewrite(r, v3electionpb.Election_Leader_FullMethodName,
			func(q *v3electionpb.LeaderRequest) error { n.in(&q.Name); return nil },
			func(a *v3electionpb.LeaderResponse) { n.pairOut(a.Kv) }),
		v3electionpb.Election_Observe_FullMethodName: func(in grpc.ServerStream) error {
			return r.carry(in, v3electionpb.Election_Observe_FullMethodName, made[v3electionpb.LeaderRequest], made[v3electionpb.LeaderResponse],
				func(m any) error { n.in(&m.(*v3electionpb.LeaderRequest).Name); return nil },
				func(m any) { n.pairOut(m.(*v3electionpb.LeaderResponse).Kv) })
		},
	}
}

func made[M any]() any { return new(M) }

func pass[M any](M) error { return nil }

// rewrite is the handler of a unary method whose messages are changed on their way.
func rewrite[Q, A any, QP interface {
	*Q
	proto.Message
}, AP interface {
	*A
	proto.Message
}](r *Relay, method string, in func(QP) error, out func(AP)) handler {
	return func(s grpc.ServerStream) error {
		q, a := QP(new(Q)), AP(new(A))
		if err := s.RecvMsg(q); err != nil {
			return err
		}
		spans := written(q)
		if err := in(q); err != nil {
			return err
		}
		err := r.call(s.Context(), method, q, a)
		r.cache.wrote(spans)
		if err != nil {
			return err
		}
		out(a)
		return s.SendMsg(a)
	}
}

// names puts keys into a namespace, and takes them out of it.
type names struct{ prefix string }

func (n *names) in(key *[]byte) { *key = append([]byte(n.prefix), *key...) }

func (n *names) out(key *[]byte) {
	if bytes.HasPrefix(*key, []byte(n.prefix)) {
		*key = (*key)[len(n.prefix):]
	}
}

// both puts a range in. etcd's check for an empty key has to be made before.
func (n *names) both(key, end *[]byte) error {
	if len(*key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	in := span{string(*key), string(*end)}.within(n.prefix)
	*key, *end = []byte(in.key), []byte(in.end)
	return nil
}

func (n *names) read(q *pb.RangeRequest) error { return n.both(&q.Key, &q.RangeEnd) }

func (n *names) put(q *pb.PutRequest) error {
	var none []byte
	return n.both(&q.Key, &none)
}

func (n *names) remove(q *pb.DeleteRangeRequest) error { return n.both(&q.Key, &q.RangeEnd) }

func (n *names) txn(q *pb.TxnRequest) error {
	for _, c := range q.Compare {
		if err := n.both(&c.Key, &c.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [][]*pb.RequestOp{q.Success, q.Failure} {
		for _, op := range ops {
			if err := n.op(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *names) op(op *pb.RequestOp) error {
	switch u := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return n.read(u.RequestRange)
	case *pb.RequestOp_RequestPut:
		return n.put(u.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return n.remove(u.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return n.txn(u.RequestTxn)
	}
	return nil
}

func (n *names) pairOut(kv *mvccpb.KeyValue) {
	if kv != nil {
		n.out(&kv.Key)
	}
}

func (n *names) rangeOut(a *pb.RangeResponse) {
	for _, kv := range a.GetKvs() {
		n.pairOut(kv)
	}
}

func (n *names) putOut(a *pb.PutResponse) { n.pairOut(a.PrevKv) }

func (n *names) removeOut(a *pb.DeleteRangeResponse) {
	for _, kv := range a.PrevKvs {
		n.pairOut(kv)
	}
}

func (n *names) txnOut(a *pb.TxnResponse) {
	for _, op := range a.Responses {
		switch u := op.Response.(type) {
		case *pb.ResponseOp_ResponseRange:
			n.rangeOut(u.ResponseRange)
		case *pb.ResponseOp_ResponsePut:
			n.putOut(u.ResponsePut)
		case *pb.ResponseOp_ResponseDeleteRange:
			n.removeOut(u.ResponseDeleteRange)
		case *pb.ResponseOp_ResponseTxn:
			n.txnOut(u.ResponseTxn)
		}
	}
}

// leaseOut leaves the keys of a lease that are in the namespace.
func (n *names) leaseOut(a *pb.LeaseTimeToLiveResponse) {
	var mine [][]byte
	for _, k := range a.Keys {
		if bytes.HasPrefix(k, []byte(n.prefix)) {
			mine = append(mine, k[len(n.prefix):])
		}
	}
	a.Keys = mine
}

func (n *names) leaderIn(l *v3electionpb.LeaderKey) {
	if l != nil {
		n.in(&l.Name)
		n.in(&l.Key)
	}
}

func (n *names) leaderOut(l *v3electionpb.LeaderKey) {
	if l != nil {
		n.out(&l.Name)
		n.out(&l.Key)
	}
}
