package adapter_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"sluice/configcenter/adapter/backendtest"
)

// manage makes a request of the Auth service.
func (s *side) manage(ctx context.Context, m proto.Message) (proto.Message, error) {
	switch r := m.(type) {
	case *pb.AuthEnableRequest:
		return s.AuthEnable(ctx, r)
	case *pb.AuthDisableRequest:
		return s.AuthDisable(ctx, r)
	case *pb.AuthStatusRequest:
		return s.AuthStatus(ctx, r)
	case *pb.AuthenticateRequest:
		return s.Authenticate(ctx, r)
	case *pb.AuthUserAddRequest:
		return s.UserAdd(ctx, r)
	case *pb.AuthUserDeleteRequest:
		return s.UserDelete(ctx, r)
	case *pb.AuthUserChangePasswordRequest:
		return s.UserChangePassword(ctx, r)
	case *pb.AuthUserGetRequest:
		return s.UserGet(ctx, r)
	case *pb.AuthUserListRequest:
		return s.UserList(ctx, r)
	case *pb.AuthUserGrantRoleRequest:
		return s.UserGrantRole(ctx, r)
	case *pb.AuthUserRevokeRoleRequest:
		return s.UserRevokeRole(ctx, r)
	case *pb.AuthRoleAddRequest:
		return s.RoleAdd(ctx, r)
	case *pb.AuthRoleDeleteRequest:
		return s.RoleDelete(ctx, r)
	case *pb.AuthRoleGetRequest:
		return s.RoleGet(ctx, r)
	case *pb.AuthRoleListRequest:
		return s.RoleList(ctx, r)
	case *pb.AuthRoleGrantPermissionRequest:
		return s.RoleGrantPermission(ctx, r)
	case *pb.AuthRoleRevokePermissionRequest:
		return s.RoleRevokePermission(ctx, r)
	case *pb.MemberAddRequest:
		return s.MemberAdd(ctx, r)
	}
	return nil, fmt.Errorf("%T is not known", m)
}

// guarded is a pairing whose stores have users; requests are made as one of
// them.
type guarded struct {
	pairing
	tokens map[string]map[*side]string // by user; on each side
}

// names that exist or not.
var (
	someUsers = []string{"root", "u1", "u2", "u3"}
	someRoles = []string{"root", "r1", "r2", "r3"}
)

// What users may do and what the Auth service answers is as in etcd.
func TestUsersLikeEtcd(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			t.Logf("-seed=%d", s)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			g := &guarded{pairing{t: t, ctx: ctx, random: rand.New(rand.NewPCG(s, 1)), ours: dial(t, serve(t, kind.Open(t))), etcd: dial(t, realEtcd(t))}, map[string]map[*side]string{}}
			g.begin()
			for g.done = range min(*operations/2, 3*roundOperations) {
				g.step()
				if t.Failed() {
					break
				}
			}
		})
	}
}

// begin makes a root and some users; passwords take long, so that they are few.
func (g *guarded) begin() {
	for _, r := range []proto.Message{
		&pb.AuthEnableRequest{}, // there is no root
		&pb.AuthUserAddRequest{Name: "root", Password: "secret"},
		&pb.AuthEnableRequest{}, // that is not root yet
		&pb.AuthUserAddRequest{Name: "root"},
		&pb.AuthUserAddRequest{Password: "secret"},
		&pb.AuthUserAddRequest{Name: "u1", Password: "one"},
		&pb.AuthUserAddRequest{Name: "u2", Options: &authpb.UserAddOptions{NoPassword: true}},
		&pb.AuthUserAddRequest{Name: "u3", Password: "three"},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthRoleAddRequest{Name: "root"},
		&pb.AuthRoleAddRequest{Name: "r1"},
		&pb.AuthUserGrantRoleRequest{User: "u1", Role: "r1"},
		&pb.AuthenticateRequest{Name: "root", Password: "secret"}, // not yet
		&pb.LeaseGrantRequest{ID: 7, TTL: 5000},
		&pb.AuthEnableRequest{},
		&pb.AuthStatusRequest{},
		&pb.AuthenticateRequest{Name: "root", Password: "wrong"},
		&pb.AuthenticateRequest{Name: "nobody", Password: "wrong"},
		&pb.AuthenticateRequest{Name: "u2", Password: ""},
		&pb.AuthDisableRequest{}, // who?
	} {
		g.as(g.ctx, r)
	}
	g.leases = []int64{7}
	for name, password := range map[string]string{"root": "secret", "u1": "one", "u3": "three"} {
		g.login(name, password)
	}
}

func (g *guarded) login(name, password string) {
	g.tokens[name] = map[*side]string{}
	for _, s := range []*side{g.ours, g.etcd} {
		resp, err := s.Authenticate(g.ctx, &pb.AuthenticateRequest{Name: name, Password: password})
		if err != nil {
			g.t.Fatal(err)
		}
		g.tokens[name][s] = resp.Token
	}
}

func (g *guarded) step() {
	r := g.request()
	name := []string{"root", "root", "u1", "u3", "", "bad"}[g.random.IntN(6)]
	if _, ok := r.(*pb.AuthDisableRequest); ok && name == "root" {
		g.as(g.ctx, r)
		return // only nobody tries
	}
	if w, ok := r.(*pb.WatchCreateRequest); ok {
		g.watchAs(name, w)
		return
	}
	g.with(name, r)
}

// with makes the request as a user: "" has no token, "bad" a wrong one.
func (g *guarded) with(name string, r proto.Message) {
	g.t.Helper()
	a, errA := g.ours.do(g.context(g.ours, name), proto.Clone(r))
	b, errB := g.etcd.do(g.context(g.etcd, name), proto.Clone(r))
	if got, want := g.shown(a, errA), g.shown(b, errB); got != want {
		g.t.Errorf("operation %d: %s: %T %s\n got %s\nwant %s", g.done, name, r, prototext.Format(r), got, want)
	}
}

func (g *guarded) context(s *side, name string) context.Context {
	switch name {
	case "":
		return g.ctx
	case "bad":
		return metadata.AppendToOutgoingContext(g.ctx, "token", "bad.7")
	}
	return metadata.AppendToOutgoingContext(g.ctx, "token", g.tokens[name][s])
}

func (g *guarded) as(ctx context.Context, r proto.Message) { g.with("", r) }

// request is one of the data, or one of the Auth service.
func (g *guarded) request() proto.Message {
	user, role := someUsers[g.random.IntN(len(someUsers))], someRoles[g.random.IntN(len(someRoles))]
	switch g.random.IntN(24) {
	case 0, 1, 2:
		return g.put()
	case 3, 4:
		return g.get()
	case 5:
		return g.remove()
	case 6, 7, 8:
		return tame(g.txn(2))
	case 9:
		return &pb.AuthUserListRequest{}
	case 10:
		return &pb.AuthUserGetRequest{Name: user}
	case 11:
		return &pb.AuthRoleGetRequest{Role: role}
	case 12:
		return &pb.AuthRoleListRequest{}
	case 13:
		return &pb.AuthRoleAddRequest{Name: role}
	case 14, 15:
		if user == "root" {
			return &pb.AuthStatusRequest{}
		}
		return &pb.AuthUserGrantRoleRequest{User: user, Role: role}
	case 16:
		return &pb.AuthUserRevokeRoleRequest{Name: user, Role: role}
	case 17, 18:
		p := &authpb.Permission{PermType: authpb.Permission_Type(g.random.IntN(3)), Key: g.key(), RangeEnd: g.end()}
		return &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: p}
	case 19:
		return &pb.AuthRoleRevokePermissionRequest{Role: role, Key: g.key(), RangeEnd: g.end()}
	case 20:
		return []proto.Message{
			&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseLeasesRequest{}, &pb.LeaseKeepAliveRequest{ID: 7},
			&pb.LeaseRevokeRequest{ID: 7}, &pb.LeaseGrantRequest{ID: 7, TTL: 5000},
		}[g.random.IntN(5)]
	case 21:
		if g.random.IntN(8) > 0 {
			return &pb.HashKVRequest{}
		}
		return &pb.AuthRoleDeleteRequest{Role: role}
	case 22:
		return &pb.WatchCreateRequest{Key: g.key(), RangeEnd: g.end()}
	default:
		return []proto.Message{&pb.AuthDisableRequest{}, &pb.AlarmRequest{}}[g.random.IntN(2)]
	}
}

// watchAs compares whether a watch is allowed.
func (g *guarded) watchAs(name string, r *pb.WatchCreateRequest) {
	g.t.Helper()
	var came []string
	for _, s := range []*side{g.ours, g.etcd} {
		ctx, cancel := context.WithTimeout(g.context(s, name), patience)
		defer cancel()
		w := must(s.Watch(ctx))(g.t)
		if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: proto.Clone(r).(*pb.WatchCreateRequest)}}); err != nil {
			g.t.Fatal(err)
		}
		m, err := w.Recv()
		came = append(came, g.shown(m, err))
	}
	if came[0] != came[1] {
		g.t.Errorf("operation %d: %s: watch %s\n got %s\nwant %s", g.done, name, prototext.Format(r), came[0], came[1])
	}
}
