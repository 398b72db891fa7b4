package adapter_test

import (
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/memory"
)

// A put that leaves a value as it was, of a key that the same transaction
// deletes before, is refused, and nothing of the transaction happens. An etcd
// ends with a panic.
func TestPutAfterDelete(t *testing.T) {
	s := dial(t, serve(t, memory.New()))
	key := []byte("/a")
	must(s.Put(t.Context(), &pb.PutRequest{Key: key, Value: []byte("1")}))(t)
	_, err := s.Txn(t.Context(), &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, IgnoreValue: true}}},
	}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, want that the key is not there", err)
	}
	if r := must(s.Range(t.Context(), &pb.RangeRequest{Key: key}))(t); r.Count != 1 || r.Header.Revision != 2 {
		t.Errorf("the transaction has happened: %v", r)
	}
}

// A key that a transaction deletes and puts again is still there after a
// compaction at that very revision. An etcd loses it, and ends its process when
// the key is read.
func TestCompactAtPutAfterDelete(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := dial(t, serve(t, kind.Open(t)))
			key := []byte("/a")
			must(s.Put(t.Context(), &pb.PutRequest{Key: key, Value: []byte("1")}))(t)
			r := must(s.Txn(t.Context(), &pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: []byte{0}}}},
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte("2")}}},
			}}))(t)
			must(s.Compact(t.Context(), &pb.CompactionRequest{Revision: r.Header.Revision, Physical: true}))(t)
			got := must(s.Range(t.Context(), &pb.RangeRequest{Key: key, Revision: r.Header.Revision}))(t)
			if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "2" || got.Kvs[0].Version != 1 || got.Kvs[0].CreateRevision != r.Header.Revision {
				t.Errorf("got %v", got)
			}
		})
	}
}

// The hash is etcd's also at a revision at which all keys that are there were
// deleted and put again by one transaction: an etcd then finds nothing that a
// compaction would keep, and counts all that an earlier one left.
func TestHashAtPutAfterDelete(t *testing.T) {
	want := hashesAtPutAfterDelete(t, dial(t, realEtcd(t)))
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			if got := hashesAtPutAfterDelete(t, dial(t, serve(t, kind.Open(t)))); !slices.Equal(got, want) {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

// hashesAtPutAfterDelete writes up to revision 8, and returns the hashes of those
// after the compaction at the fourth.
func hashesAtPutAfterDelete(t *testing.T, s *side) (hashes []uint32) {
	t.Helper()
	ctx := t.Context()
	put := func(key string) {
		t.Helper()
		must(s.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("1")}))(t)
	}
	put("/a")
	put("/b")
	put("/a")
	must(s.Compact(ctx, &pb.CompactionRequest{Revision: 4, Physical: true}))(t)
	put("/b")
	must(s.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("/"), RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("/a"), Value: []byte("2")}}},
	}}))(t)
	put("/b")
	must(s.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("/"), RangeEnd: []byte{0}}))(t)
	for rev := int64(5); rev <= 8; rev++ {
		r := must(s.HashKV(ctx, &pb.HashKVRequest{Revision: rev}))(t)
		if r.CompactRevision != 4 || r.HashRevision != rev {
			t.Errorf("at %d: %v", rev, r)
		}
		hashes = append(hashes, r.Hash)
	}
	return hashes
}
