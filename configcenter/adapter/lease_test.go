package adapter_test

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"sluice/configcenter/adapter/backendtest"
)

// A lease that nobody keeps alive ends with its keys, and who watches hears of
// it; one that is kept alive stays.
func TestLeaseEnds(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := dial(t, serve(t, kind.Open(t)))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			const ttl = 5 // long enough for what comes before the lease is kept alive
			for id, ttl := range map[int64]int64{7: ttl, 8: 3600} {
				must(s.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl}))(t)
			}
			for key, id := range map[string]int64{"a": 7, "b": 7, "c": 8} {
				must(s.Put(ctx, &pb.PutRequest{Key: []byte(key), Lease: id}))(t)
			}
			w := must(s.Watch(ctx))(t)
			create := &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}
			if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
				t.Fatal(err)
			}
			must(w.Recv())(t) // it is made
			alive := must(s.LeaseKeepAlive(ctx))(t)
			kept := time.Now()
			for range 3 { // from now on it has its whole time again
				if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: 7}); err != nil {
					t.Fatal(err)
				}
				if r := must(alive.Recv())(t); r.TTL != ttl {
					t.Errorf("kept alive for %d s", r.TTL)
				}
				kept = time.Now()
			}
			var gone []string
			for len(gone) < 2 {
				m := must(w.Recv())(t)
				if len(m.Events) != 2 || m.Events[0].Type != mvccpb.Event_DELETE || m.Events[0].Kv.ModRevision != m.Events[1].Kv.ModRevision {
					t.Fatalf("not both keys at once: %v", m)
				}
				gone = append(gone, string(m.Events[0].Kv.Key), string(m.Events[1].Kv.Key))
			}
			if took := time.Since(kept); took < ttl*time.Second-100*time.Millisecond {
				t.Errorf("the lease ended after %v", took)
			}
			if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: 7}); err != nil {
				t.Fatal(err)
			}
			if r := must(alive.Recv())(t); r.TTL != 0 {
				t.Errorf("a lease that ended is kept alive for %d s", r.TTL)
			}
			if r := must(s.Range(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")}))(t); r.Count != 1 {
				t.Errorf("%d keys are left", r.Count)
			}
		})
	}
}
