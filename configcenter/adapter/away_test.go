package adapter_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/memory"
	"sluice/configcenter/adapter/mvcc"
)

// absent is a store whose database may be away: what was read before is still
// known.
type absent struct {
	mvcc.Backend
	away atomic.Bool
}

func (a *absent) View(ctx context.Context, f func(mvcc.Tx) error) error {
	if a.away.Load() {
		return errors.New("connection refused")
	}
	return a.Backend.View(ctx, f)
}

func (a *absent) Peek(f func(mvcc.Tx) error) error { return a.Backend.View(context.Background(), f) }

// While the database is away, watches stay open: they tell progress, and others
// join the stream.
func TestWatchWhileStoreIsAway(t *testing.T) {
	store := &absent{Backend: memory.New()}
	s := dial(t, serveConfig(t, adapter.Config{Backend: store}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(s.Put(ctx, &pb.PutRequest{Key: []byte("/a")}))(t)
	w := must(s.Watch(ctx))(t)
	ask := func(r *pb.WatchRequest) *pb.WatchResponse {
		t.Helper()
		if err := w.Send(r); err != nil {
			t.Fatal(err)
		}
		return must(w.Recv())(t)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("/a")}}}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	if r := ask(create); !r.Created || r.Canceled {
		t.Fatalf("got %v", r)
	}
	store.away.Store(true)
	if r := ask(progress); r.WatchId != noWatch || r.Header.Revision != 2 {
		t.Errorf("progress while the store is away: %v", r)
	}
	if r := ask(create); !r.Created || r.Canceled || r.WatchId != 1 || r.Header.Revision != 2 {
		t.Errorf("a watch while the store is away: %v", r)
	}
	store.away.Store(false)
	must(s.Put(ctx, &pb.PutRequest{Key: []byte("/a")}))(t)
	for range 2 {
		if r := must(w.Recv())(t); len(r.Events) != 1 || r.Header.Revision != 3 {
			t.Errorf("after the store is back: %v", r)
		}
	}
}
