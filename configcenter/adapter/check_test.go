package adapter

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A transaction with too many operations is refused before anything that grows
// with them is calculated: who asks is not even known yet.
func TestTooManyOps(t *testing.T) {
	r := &pb.TxnRequest{}
	for range 1000 {
		d := &pb.DeleteRangeRequest{Key: []byte("/a"), RangeEnd: []byte("/b")}
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}})
	}
	for range 50 {
		r = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}}}
	}
	k := kv{s: &Server{cfg: Config{MaxTxnOps: 128, MaxRequestBytes: 10 << 20}}}
	n := testing.AllocsPerRun(1, func() {
		if _, err := k.Txn(t.Context(), r); !errors.Is(err, rpctypes.ErrGRPCTooManyOps) {
			t.Errorf("got %v", err)
		}
	})
	if n > 100 {
		t.Errorf("%v allocations", n)
	}
}
