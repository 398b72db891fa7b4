package adapter_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/embedded"
)

// A real etcd made from a snapshot has the same history, leases and users.
func TestSnapshot(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, kind.Open(t))
			ours := dial(t, addr)
			fillForSnapshot(t, ours)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			path, dir := filepath.Join(t.TempDir(), "snapshot"), filepath.Join(t.TempDir(), "etcd")
			if err := embedded.Snapshot(ctx, "http://"+addr, nil, path); err != nil {
				t.Fatal(err)
			}
			must(embedded.Restore(path, dir, nil))(t)
			s := must(embedded.Start(ctx, embedded.Config{Dir: dir, Listen: "http://127.0.0.1:0", NoSync: true, Log: etcdLog()}))(t)
			t.Cleanup(s.Stop)
			p := &pairing{t: t, ctx: ctx, ours: ours, etcd: dial(t, s.URL()[len("http://"):])}
			for _, r := range []proto.Message{
				&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 50},
				&pb.RangeRequest{Key: []byte("a"), Revision: 5},
				&pb.HashKVRequest{}, &pb.LeaseLeasesRequest{}, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true},
				&pb.AuthUserListRequest{}, &pb.AuthRoleGetRequest{Role: "r"}, &pb.AuthStatusRequest{},
				&pb.PutRequest{Key: []byte("a"), PrevKv: true},
			} {
				a, errA := p.ours.do(ctx, proto.Clone(r))
				b, errB := p.etcd.do(ctx, proto.Clone(r))
				if got, want := p.shown(a, errA), p.shown(b, errB); got != want {
					t.Errorf("%T\n  ours %s\nrestored %s", r, got, want)
				}
			}
		})
	}
}

func fillForSnapshot(t *testing.T, s *side) {
	t.Helper()
	ctx := t.Context()
	must(s.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 5000}))(t)
	for i := range 60 {
		must(s.Put(ctx, &pb.PutRequest{Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, "value ", i), Lease: int64(i % 2 * 7)}))(t)
	}
	must(s.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("3"), RangeEnd: []byte("5")}))(t)
	must(s.Compact(ctx, &pb.CompactionRequest{Revision: 30, Physical: true}))(t)
	must(s.Put(ctx, &pb.PutRequest{Key: []byte("4")}))(t)
	must(s.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "u", Options: &authpb.UserAddOptions{NoPassword: true}}))(t)
	must(s.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "r"}))(t)
	must(s.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("k")}}))(t)
}
