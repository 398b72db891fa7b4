package adapter

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/mvcc"
)

// kv is etcd's service of that name.
type kv struct {
	pb.UnimplementedKVServer
	s *Server
}

func (k kv) Range(ctx context.Context, r *pb.RangeRequest) (resp *pb.RangeResponse, err error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	look := k.s.view
	if r.Serializable {
		look = k.s.peek
	}
	err = look(ctx, func(tx mvcc.Tx) error {
		if err := k.s.permit(ctx, tx, func(c *caller) error { return c.mayRange(r) }); err != nil {
			return err
		}
		resp, err = newRun(tx, nil).get(r)
		return err
	})
	return filled(k.s, resp, err)
}

func (k kv) Put(ctx context.Context, r *pb.PutRequest) (resp *pb.PutResponse, err error) {
	if err := first(checkPut(r), k.small(r)); err != nil {
		return nil, err
	}
	err = k.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := k.s.permit(ctx, tx, func(c *caller) error { return c.mayPut(r) }); err != nil {
			return err
		}
		t := newRun(tx, tx)
		if err := t.mayPut(r); err != nil {
			return err
		}
		resp, err = t.put(r)
		return err
	})
	return filled(k.s, resp, err)
}

func (k kv) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (resp *pb.DeleteRangeResponse, err error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	err = k.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := k.s.permit(ctx, tx, func(c *caller) error { return c.mayDelete(r) }); err != nil {
			return err
		}
		resp, err = newRun(tx, tx).remove(r)
		return err
	})
	return filled(k.s, resp, err)
}

func (k kv) Txn(ctx context.Context, r *pb.TxnRequest) (resp *pb.TxnResponse, err error) {
	if err := checkTxn(r, k.s.cfg.MaxTxnOps); err != nil {
		return nil, err
	}
	if err := first(checkOverlap(r), k.small(r)); err != nil {
		return nil, err
	}
	do := func(tx mvcc.Tx, w mvcc.WriteTx) error {
		if err := k.s.permit(ctx, tx, func(c *caller) error { return c.mayTxn(r) }); err != nil {
			return err
		}
		resp, err = newRun(tx, w).whole(r)
		return err
	}
	if readOnly(r) {
		err = k.s.view(ctx, func(tx mvcc.Tx) error { return do(tx, nil) })
	} else {
		err = k.s.update(ctx, func(tx mvcc.WriteTx) error { return do(tx, tx) })
	}
	return filled(k.s, resp, err)
}

func (k kv) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	var rev int64
	err := k.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := k.s.permit(ctx, tx, (*caller).someone); err != nil {
			return err
		}
		st := tx.State()
		rev = st.Rev
		switch {
		case r.Revision <= st.Compact:
			return rpctypes.ErrGRPCCompacted
		case r.Revision > st.Rev:
			return rpctypes.ErrGRPCFutureRev
		}
		return tx.Compact(r.Revision)
	})
	return filled(k.s, &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: rev}}, err)
}

// streamPage is how many keys one part of a streamed range has.
const streamPage = 1000

// RangeStream sends a range in parts that are all of one revision. The last
// part has the header, the count and whether there is more.
func (k kv) RangeStream(r *pb.RangeRequest, out pb.KV_RangeStreamServer) error {
	switch err := checkRange(r); {
	case err != nil:
		return err
	case !byKey(r):
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case filtered(r):
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	part := proto.Clone(r).(*pb.RangeRequest)
	part.SortTarget = pb.RangeRequest_KEY
	var total, sent, rev int64
	for {
		part.Limit = streamPage
		if r.Limit > 0 {
			part.Limit = min(streamPage, r.Limit-sent)
		}
		resp, err := k.Range(out.Context(), part)
		if err != nil {
			return err
		}
		if rev == 0 { // the first part decides the revision
			rev, total = resp.Header.Revision, resp.Count
			if part.Revision <= 0 {
				part.Revision = rev
			}
		}
		n := len(resp.Kvs)
		sent += int64(n)
		done := !resp.More || sent == r.Limit
		piece := &pb.RangeResponse{Kvs: resp.Kvs}
		if done {
			piece.Header, piece.Count, piece.More = k.s.header(rev), total, resp.More
		}
		if err := out.Send(&pb.RangeStreamResponse{RangeResponse: piece}); err != nil || done {
			return err
		}
		part.Key = append(append([]byte(nil), resp.Kvs[n-1].Key...), 0)
	}
}

// small refuses what is too large for one write.
func (k kv) small(m proto.Message) error {
	if proto.Size(m) > k.s.cfg.MaxRequestBytes {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// filled puts the cluster into the header of a response.
func filled[R interface{ GetHeader() *pb.ResponseHeader }](s *Server, resp R, err error) (R, error) {
	if err != nil {
		var none R
		return none, err
	}
	h := resp.GetHeader()
	h.ClusterId, h.MemberId, h.RaftTerm = s.cluster, s.member, term
	return resp, nil
}

// pair is the row as clients see it.
func pair(r *mvcc.Row) *mvccpb.KeyValue {
	if r.Deleted {
		return &mvccpb.KeyValue{Key: r.Key, ModRevision: r.Rev}
	}
	return &mvccpb.KeyValue{Key: r.Key, Value: r.Value, CreateRevision: r.Create, ModRevision: r.Rev, Version: r.Version, Lease: r.Lease}
}
