package adapter

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"sluice/configcenter/adapter/mvcc"
)

// run carries out the operations of one request; what they write is of one
// revision, and each sees what those before it wrote.
type run struct {
	tx    mvcc.Tx
	w     mvcc.WriteTx // nil: there is nothing to write
	st    mvcc.State
	wrote int64 // rows
}

func newRun(tx mvcc.Tx, w mvcc.WriteTx) *run { return &run{tx: tx, w: w, st: tx.State()} }

// rev is the revision that the next operation sees.
func (t *run) rev() int64 {
	if t.wrote > 0 {
		return t.st.Rev + 1
	}
	return t.st.Rev
}

// one returns the present row of a key.
func (t *run) one(key []byte) (*mvcc.Row, error) {
	rows, err := t.tx.Range(mvcc.NewSpan(key, nil), t.rev(), 1, true)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// readable says whether a read may ask for the revision.
func (t *run) readable(rev int64) error {
	switch {
	case rev > t.rev():
		return rpctypes.ErrGRPCFutureRev
	case rev > 0 && rev < t.st.Compact:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

func (t *run) get(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := t.readable(r.Revision); err != nil {
		return nil, err
	}
	at := r.Revision
	if at <= 0 {
		at = t.rev()
	}
	span := mvcc.NewSpan(r.Key, r.RangeEnd)
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: t.rev()}}
	var err error
	if r.CountOnly {
		resp.Count, err = t.tx.Count(span, at)
		return resp, err
	}
	limit := 0
	if r.Limit > 0 && r.Limit < math.MaxInt32 && byKey(r) && !filtered(r) {
		limit = int(r.Limit) + 1 // one more tells whether there is more
	}
	bare := r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE
	rows, err := t.tx.Range(span, at, limit, !bare)
	if err != nil {
		return nil, err
	}
	resp.Count = int64(len(rows))
	if limit > 0 && len(rows) == limit {
		if resp.Count, err = t.tx.Count(span, at); err != nil {
			return nil, err
		}
	}
	rows = slices.DeleteFunc(rows, func(row mvcc.Row) bool { return outside(r, &row) })
	arrange(rows, r)
	if r.Limit > 0 && int64(len(rows)) > r.Limit {
		rows, resp.More = rows[:r.Limit], true
	}
	resp.Kvs = make([]*mvccpb.KeyValue, len(rows))
	for i := range rows {
		kv := pair(&rows[i])
		if r.KeysOnly {
			kv.Value = nil
		}
		if bare {
			kv.Lease = 0 // as etcd, which answers this from its index
		}
		resp.Kvs[i] = kv
	}
	return resp, nil
}

// byKey says whether the answer is wanted in the order that stores keep.
func byKey(r *pb.RangeRequest) bool {
	return r.SortOrder == pb.RangeRequest_NONE || r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
}

func filtered(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func outside(r *pb.RangeRequest, row *mvcc.Row) bool {
	return r.MaxModRevision != 0 && row.Rev > r.MaxModRevision || row.Rev < r.MinModRevision ||
		r.MaxCreateRevision != 0 && row.Create > r.MaxCreateRevision || row.Create < r.MinCreateRevision
}

// arrange sorts as etcd does, with its algorithm: what is equal then comes in
// the same order too.
func arrange(rows []mvcc.Row, r *pb.RangeRequest) {
	order := r.SortOrder
	if order == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		order = pb.RangeRequest_ASCEND
	}
	var compare func(a, b *mvcc.Row) int
	switch r.SortTarget {
	case pb.RangeRequest_KEY:
		compare = func(a, b *mvcc.Row) int { return bytes.Compare(a.Key, b.Key) }
	case pb.RangeRequest_VERSION:
		compare = func(a, b *mvcc.Row) int { return cmp.Compare(a.Version, b.Version) }
	case pb.RangeRequest_CREATE:
		compare = func(a, b *mvcc.Row) int { return cmp.Compare(a.Create, b.Create) }
	case pb.RangeRequest_MOD:
		compare = func(a, b *mvcc.Row) int { return cmp.Compare(a.Rev, b.Rev) }
	default:
		compare = func(a, b *mvcc.Row) int { return bytes.Compare(a.Value, b.Value) }
	}
	by := &ordering{rows, compare}
	switch {
	case order == pb.RangeRequest_DESCEND:
		sort.Sort(sort.Reverse(by))
	case r.SortTarget != pb.RangeRequest_KEY:
		sort.Sort(by)
	}
}

type ordering struct {
	rows    []mvcc.Row
	compare func(a, b *mvcc.Row) int
}

func (o *ordering) Len() int           { return len(o.rows) }
func (o *ordering) Swap(i, j int)      { o.rows[i], o.rows[j] = o.rows[j], o.rows[i] }
func (o *ordering) Less(i, j int) bool { return o.compare(&o.rows[i], &o.rows[j]) < 0 }

// mayPut checks what a put needs to be there.
func (t *run) mayPut(r *pb.PutRequest) error {
	if r.Lease != 0 {
		ls, err := t.tx.Leases(r.Lease)
		if err != nil {
			return err
		}
		if len(ls) == 0 {
			return rpctypes.ErrGRPCLeaseNotFound
		}
	}
	if !r.IgnoreValue && !r.IgnoreLease {
		return nil
	}
	prev, err := t.one(r.Key)
	if err == nil && prev == nil {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return err
}

func (t *run) put(r *pb.PutRequest) (*pb.PutResponse, error) {
	prev, err := t.one(r.Key)
	if err != nil {
		return nil, err
	}
	if prev == nil && (r.IgnoreValue || r.IgnoreLease) { // it was there when the transaction began
		return nil, rpctypes.ErrGRPCKeyNotFound
	}
	row := mvcc.Row{Key: r.Key, Value: r.Value, Lease: r.Lease, Create: t.st.Rev + 1, Version: 1}
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: t.st.Rev + 1}}
	if prev != nil {
		row.Create, row.Version = prev.Create, prev.Version+1
		if r.IgnoreValue {
			row.Value = prev.Value
		}
		if r.IgnoreLease {
			row.Lease = prev.Lease
		}
		if r.PrevKv {
			resp.PrevKv = pair(prev)
		}
	}
	return resp, t.append(row)
}

func (t *run) append(row mvcc.Row) error {
	row.Rev, row.Sub = t.st.Rev+1, t.wrote
	t.wrote++
	return t.w.Append(row)
}

func (t *run) remove(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	rows, err := t.tx.Range(mvcc.NewSpan(r.Key, r.RangeEnd), t.rev(), 0, r.PrevKv)
	if err != nil {
		return nil, err
	}
	resp := &pb.DeleteRangeResponse{Deleted: int64(len(rows))}
	for i := range rows {
		if r.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, pair(&rows[i]))
		}
		if err := t.append(mvcc.Row{Key: rows[i].Key, Deleted: true}); err != nil {
			return nil, err
		}
	}
	resp.Header = &pb.ResponseHeader{Revision: t.rev()}
	return resp, nil
}
