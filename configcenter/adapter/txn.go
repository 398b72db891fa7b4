package adapter

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"sluice/configcenter/adapter/mvcc"
)

// path is which branch a transaction takes, and those that are nested in that
// branch. etcd decides all of them before the first write.
type path struct {
	ok     bool
	nested map[int]*path // by operation of the branch
}

func (p *path) branch(r *pb.TxnRequest) []*pb.RequestOp {
	if p.ok {
		return r.Success
	}
	return r.Failure
}

// whole carries out a transaction.
func (t *run) whole(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	p, err := t.decide(r)
	if err != nil {
		return nil, err
	}
	if err := t.may(r, p); err != nil {
		return nil, err
	}
	resp, err := t.txn(r, p)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = t.rev()
	return resp, nil
}

func (t *run) decide(r *pb.TxnRequest) (*path, error) {
	p := &path{ok: true, nested: map[int]*path{}}
	for _, c := range r.Compare {
		ok, err := t.holds(c)
		if err != nil {
			return nil, err
		}
		if !ok {
			p.ok = false
			break
		}
	}
	for i, op := range p.branch(r) {
		if n := op.GetRequestTxn(); n != nil {
			var err error
			if p.nested[i], err = t.decide(n); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// may checks the operations that will happen, before any does: against what
// was there before the transaction.
func (t *run) may(r *pb.TxnRequest, p *path) error {
	for i, op := range p.branch(r) {
		var err error
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			err = t.readable(o.RequestRange.Revision)
		case *pb.RequestOp_RequestPut:
			err = t.mayPut(o.RequestPut)
		case *pb.RequestOp_RequestTxn:
			err = t.may(o.RequestTxn, p.nested[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *run) txn(r *pb.TxnRequest, p *path) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: p.ok}
	for i, op := range p.branch(r) {
		out, err := t.op(op, p.nested[i])
		if err != nil {
			return nil, err
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp, nil
}

func (t *run) op(op *pb.RequestOp, nested *path) (*pb.ResponseOp, error) {
	switch o := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		resp, err := t.get(o.RequestRange)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: resp}}, err
	case *pb.RequestOp_RequestPut:
		resp, err := t.put(o.RequestPut)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: resp}}, err
	case *pb.RequestOp_RequestDeleteRange:
		resp, err := t.remove(o.RequestDeleteRange)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: resp}}, err
	case *pb.RequestOp_RequestTxn:
		resp, err := t.txn(o.RequestTxn, nested)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: resp}}, err
	}
	return &pb.ResponseOp{}, nil // checkOp lets none of these pass
}

// holds says whether a comparison is true for every key of its range. Where
// there is no key, it looks at an empty one, which has no value at all.
func (t *run) holds(c *pb.Compare) (bool, error) {
	rows, err := t.tx.Range(mvcc.NewSpan(c.Key, c.RangeEnd), t.st.Rev, 0, c.Target == pb.Compare_VALUE)
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		return c.Target != pb.Compare_VALUE && matches(c, &mvcc.Row{}), nil
	}
	for i := range rows {
		if !matches(c, &rows[i]) {
			return false, nil
		}
	}
	return true, nil
}

func matches(c *pb.Compare, r *mvcc.Row) bool {
	var n int
	switch c.Target {
	case pb.Compare_VALUE:
		n = bytes.Compare(r.Value, c.GetValue())
	case pb.Compare_CREATE:
		n = cmp.Compare(r.Create, c.GetCreateRevision())
	case pb.Compare_MOD:
		n = cmp.Compare(r.Rev, c.GetModRevision())
	case pb.Compare_VERSION:
		n = cmp.Compare(r.Version, c.GetVersion())
	case pb.Compare_LEASE:
		n = cmp.Compare(r.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return n == 0
	case pb.Compare_NOT_EQUAL:
		return n != 0
	case pb.Compare_GREATER:
		return n > 0
	case pb.Compare_LESS:
		return n < 0
	}
	return true
}
