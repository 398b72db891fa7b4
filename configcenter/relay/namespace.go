package relay

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/relay/keys"
)

// rewriters are the handlers of the methods whose messages have keys, when
// there is a namespace.
func (r *Relay) rewriters() map[string]handler {
	if r.cfg.Namespace == "" {
		return nil
	}
	n := keys.Names{Prefix: r.cfg.Namespace}
	return map[string]handler{
		pb.KV_RangeStream_FullMethodName: func(in grpc.ServerStream) error {
			return r.carry(in, pb.KV_RangeStream_FullMethodName, made[pb.RangeRequest], made[pb.RangeStreamResponse],
				func(m any) error { return n.Read(m.(*pb.RangeRequest)) }, func(m any) { n.ReadOut(m.(*pb.RangeStreamResponse).RangeResponse) })
		},
		pb.KV_Put_FullMethodName:                rewrite(r, pb.KV_Put_FullMethodName, n.Put, n.PutOut),
		pb.KV_DeleteRange_FullMethodName:        rewrite(r, pb.KV_DeleteRange_FullMethodName, n.Remove, n.RemoveOut),
		pb.KV_Txn_FullMethodName:                rewrite(r, pb.KV_Txn_FullMethodName, n.Txn, n.TxnOut),
		pb.Lease_LeaseTimeToLive_FullMethodName: rewrite(r, pb.Lease_LeaseTimeToLive_FullMethodName, pass[*pb.LeaseTimeToLiveRequest], n.LeaseOut),
		v3lockpb.Lock_Lock_FullMethodName: rewrite(r, v3lockpb.Lock_Lock_FullMethodName,
			func(q *v3lockpb.LockRequest) error { n.In(&q.Name); return nil },
			func(a *v3lockpb.LockResponse) { n.Out(&a.Key) }),
		v3lockpb.Lock_Unlock_FullMethodName: rewrite(r, v3lockpb.Lock_Unlock_FullMethodName,
			func(q *v3lockpb.UnlockRequest) error { n.In(&q.Key); return nil }, func(*v3lockpb.UnlockResponse) {}),
		v3electionpb.Election_Campaign_FullMethodName: rewrite(r, v3electionpb.Election_Campaign_FullMethodName,
			func(q *v3electionpb.CampaignRequest) error { n.In(&q.Name); return nil },
			func(a *v3electionpb.CampaignResponse) { n.LeaderOut(a.Leader) }),
		v3electionpb.Election_Proclaim_FullMethodName: rewrite(r, v3electionpb.Election_Proclaim_FullMethodName,
			func(q *v3electionpb.ProclaimRequest) error { n.LeaderIn(q.Leader); return nil }, func(*v3electionpb.ProclaimResponse) {}),
		v3electionpb.Election_Resign_FullMethodName: rewrite(r, v3electionpb.Election_Resign_FullMethodName,
			func(q *v3electionpb.ResignRequest) error { n.LeaderIn(q.Leader); return nil }, func(*v3electionpb.ResignResponse) {}),
		v3electionpb.Election_Leader_FullMethodName: rewrite(r, v3electionpb.Election_Leader_FullMethodName,
			func(q *v3electionpb.LeaderRequest) error { n.In(&q.Name); return nil },
			func(a *v3electionpb.LeaderResponse) { n.PairOut(a.Kv) }),
		v3electionpb.Election_Observe_FullMethodName: func(in grpc.ServerStream) error {
			return r.carry(in, v3electionpb.Election_Observe_FullMethodName, made[v3electionpb.LeaderRequest], made[v3electionpb.LeaderResponse],
				func(m any) error { n.In(&m.(*v3electionpb.LeaderRequest).Name); return nil },
				func(m any) { n.PairOut(m.(*v3electionpb.LeaderResponse).Kv) })
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
