// Package keys puts the keys in etcd's messages into a namespace and takes them
// out of it. It does not know who sends the messages.
package keys

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
)

// Open is the end of a range that has no end.
const Open = "\x00"

// Within is a range, which has one key when end is empty, as it is below a prefix.
func Within(prefix, key, end string) (string, string) {
	switch end {
	case "":
	case Open:
		end = after(prefix)
	default:
		end = prefix + end
	}
	return prefix + key, end
}

// after is the end of the range of all keys with a prefix.
func after(prefix string) string {
	for last := len(prefix) - 1; last >= 0; last-- {
		if c := prefix[last]; c < 0xff {
			return prefix[:last] + string([]byte{c + 1})
		}
	}
	return Open
}

// Names puts keys into a namespace, and takes them out of it.
type Names struct{ Prefix string }

// In puts one key in.
func (n Names) In(key *[]byte) { *key = append([]byte(n.Prefix), *key...) }

// Out takes one key out.
func (n Names) Out(key *[]byte) {
	if bytes.HasPrefix(*key, []byte(n.Prefix)) {
		*key = (*key)[len(n.Prefix):]
	}
}

// both puts a range in. etcd's check for an empty key has to be made before.
func (n Names) both(key, end *[]byte) error {
	if len(*key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	k, e := Within(n.Prefix, string(*key), string(*end))
	*key, *end = []byte(k), []byte(e)
	return nil
}

// Read puts the range of a read in.
func (n Names) Read(q *pb.RangeRequest) error { return n.both(&q.Key, &q.RangeEnd) }

// Put puts the key of a write in.
func (n Names) Put(q *pb.PutRequest) error {
	var none []byte
	return n.both(&q.Key, &none)
}

// Remove puts the range of a deletion in.
func (n Names) Remove(q *pb.DeleteRangeRequest) error { return n.both(&q.Key, &q.RangeEnd) }

// Txn puts everything in that a transaction names.
func (n Names) Txn(q *pb.TxnRequest) error {
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

func (n Names) op(op *pb.RequestOp) error {
	switch u := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return n.Read(u.RequestRange)
	case *pb.RequestOp_RequestPut:
		return n.Put(u.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return n.Remove(u.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return n.Txn(u.RequestTxn)
	}
	return nil
}

// PairOut takes the key of a pair out, if there is one.
func (n Names) PairOut(kv *mvccpb.KeyValue) {
	if kv != nil {
		n.Out(&kv.Key)
	}
}

// ReadOut takes the keys of an answer out.
func (n Names) ReadOut(a *pb.RangeResponse) {
	for _, kv := range a.GetKvs() {
		n.PairOut(kv)
	}
}

// PutOut takes the key of the value before out.
func (n Names) PutOut(a *pb.PutResponse) { n.PairOut(a.PrevKv) }

// RemoveOut takes the keys of what was deleted out.
func (n Names) RemoveOut(a *pb.DeleteRangeResponse) {
	for _, kv := range a.PrevKvs {
		n.PairOut(kv)
	}
}

// TxnOut takes the keys of a transaction's answers out.
func (n Names) TxnOut(a *pb.TxnResponse) {
	for _, op := range a.Responses {
		switch u := op.Response.(type) {
		case *pb.ResponseOp_ResponseRange:
			n.ReadOut(u.ResponseRange)
		case *pb.ResponseOp_ResponsePut:
			n.PutOut(u.ResponsePut)
		case *pb.ResponseOp_ResponseDeleteRange:
			n.RemoveOut(u.ResponseDeleteRange)
		case *pb.ResponseOp_ResponseTxn:
			n.TxnOut(u.ResponseTxn)
		}
	}
}

// LeaseOut leaves the keys of a lease that are in the namespace.
func (n Names) LeaseOut(a *pb.LeaseTimeToLiveResponse) {
	var mine [][]byte
	for _, k := range a.Keys {
		if bytes.HasPrefix(k, []byte(n.Prefix)) {
			mine = append(mine, k[len(n.Prefix):])
		}
	}
	a.Keys = mine
}

// LeaderIn puts the keys of a leader in.
func (n Names) LeaderIn(l *v3electionpb.LeaderKey) {
	if l != nil {
		n.In(&l.Name)
		n.In(&l.Key)
	}
}

// LeaderOut takes the keys of a leader out.
func (n Names) LeaderOut(l *v3electionpb.LeaderKey) {
	if l != nil {
		n.Out(&l.Name)
		n.Out(&l.Key)
	}
}
