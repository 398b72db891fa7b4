package relay_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc/metadata"

	"sluice/configcenter/relay"
)

// withUsers starts an etcd with the users root, alice and bob, each with a
// prefix, and a password like the name.
func withUsers(t *testing.T) (addr string, root *clientv3.Client) {
	t.Helper()
	addr = specialEtcd(t, func(c *embed.Config) { c.BcryptCost = 4 })
	c := client(t, addr)
	ctx := soon(t)
	for _, name := range []string{"root", "alice", "bob"} {
		must(c.RoleAdd(ctx, name))(t)
		must(c.UserAdd(ctx, name, name))(t)
		must(c.UserGrantRole(ctx, name, name))(t)
		if name != "root" {
			must(c.RoleGrantPermission(ctx, name, "/"+name+"/", "/"+name+"0", clientv3.PermissionType(clientv3.PermReadWrite)))(t)
		}
	}
	must(c.AuthEnable(ctx))(t)
	return addr, login(t, addr, "root", "root")
}

// as is a context with the token of a user.
func as(t *testing.T, addr, user string) context.Context {
	t.Helper()
	conn := dial(t, addr)
	a := must(pb.NewAuthClient(conn).Authenticate(soon(t), &pb.AuthenticateRequest{Name: user, Password: user}))(t)
	return metadata.AppendToOutgoingContext(soon(t), rpctypes.TokenFieldNameGRPC, a.Token)
}

func ofUser(name string) *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte("/" + name + "/"), RangeEnd: []byte("/" + name + "0")}
}

// metric is a value of a relay's metrics.
func metric(t testing.TB, addr, name string) float64 {
	t.Helper()
	resp := must(http.Get("http://" + addr + "/proxy/metrics"))(t)
	defer resp.Body.Close()
	for line := range strings.Lines(string(must(io.ReadAll(resp.Body))(t))) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return must(strconv.ParseFloat(strings.TrimSpace(v), 64))(t)
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Each client sees what etcd lets it see, whoever else watches the same.
func TestAuth(t *testing.T) {
	t.Parallel()
	for name, user := range map[string]string{"relay has a user": "root", "relay has none": ""} {
		t.Run(name, func(t *testing.T) {
			store, root := withUsers(t)
			addr := start(t, relay.Config{Endpoints: []string{store}, User: user, Password: user})
			conn := dial(t, addr)
			alice := as(t, addr, "alice")
			first := watch(t, alice, conn, ofUser("alice"))
			second := watch(t, alice, conn, ofUser("alice"))
			third := watch(t, as(t, addr, "alice"), conn, ofUser("alice"))
			rev := put(t, root, "/alice/1", "1")
			for _, w := range []*raw{first, second, third} {
				if got := w.events(1, 0)[0].Kv.ModRevision; got != rev {
					t.Errorf("revision %d, want %d", got, rev)
				}
			}
			want := 2.0 // one for each token
			if user != "" {
				want = 1
			}
			if got := metric(t, addr, "sluice_relay_upstream_watches"); got != want {
				t.Errorf("%v watches in the cluster, want %v", got, want)
			}

			refused := func(ctx context.Context, c *pb.WatchCreateRequest, reason error) {
				t.Helper()
				if m := watch(t, ctx, conn).create(c); !m.Canceled || m.WatchId != -1 || m.CancelReason != reason.Error() {
					t.Errorf("got %v, want %v", m, reason)
				}
			}
			refused(as(t, addr, "bob"), ofUser("alice"), rpctypes.ErrGRPCPermissionDenied)
			refused(alice, &pb.WatchCreateRequest{Key: []byte("/"), RangeEnd: []byte{0}}, rpctypes.ErrGRPCPermissionDenied)
			refused(soon(t), ofUser("alice"), rpctypes.ErrGRPCUserEmpty)
			refused(metadata.AppendToOutgoingContext(soon(t), rpctypes.TokenFieldNameGRPC, "made.1"), ofUser("alice"), rpctypes.ErrGRPCInvalidAuthToken)

			// what was allowed once is not allowed for ever
			must(root.RoleRevokePermission(soon(t), "alice", "/alice/", "/alice0"))(t)
			refused(as(t, addr, "alice"), ofUser("alice"), rpctypes.ErrGRPCPermissionDenied)
		})
	}
}

// An answer that is kept is for those only who may have it.
func TestCacheAuth(t *testing.T) {
	t.Parallel()
	store, root := withUsers(t)
	addr := start(t, relay.Config{Endpoints: []string{store}, User: "root", Password: "root"})
	put(t, root, "/alice/1", "secret")
	kv := pb.NewKVClient(dial(t, addr))
	q := &pb.RangeRequest{Key: []byte("/alice/1"), Serializable: true}
	alice := as(t, addr, "alice")
	for metric(t, addr, "etcd_grpc_proxy_cache_hits_total") == 0 {
		if a := must(kv.Range(alice, q))(t); len(a.Kvs) != 1 {
			t.Fatalf("got %v", a)
		}
	}
	for name, ctx := range map[string]context.Context{"bob": as(t, addr, "bob"), "nobody": soon(t)} {
		if a, err := kv.Range(ctx, q); err == nil {
			t.Errorf("%s got %v", name, a)
		}
	}
	must(kv.Range(as(t, addr, "alice"), q))(t)
}

// A client of etcd's library logs in, reads, writes and watches through the relay.
func TestLibrary(t *testing.T) {
	t.Parallel()
	store, _ := withUsers(t)
	addr := start(t, relay.Config{Endpoints: []string{store}})
	c := login(t, addr, "alice", "alice")
	ctx := soon(t)
	events := c.Watch(ctx, "/alice/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	rev := put(t, c, "/alice/x", "1")
	if m := <-events; len(m.Events) != 1 || m.Events[0].Kv.ModRevision != rev {
		t.Fatalf("got %+v", m)
	}
	if _, err := c.Get(ctx, "/bob/x"); err != rpctypes.ErrPermissionDenied {
		t.Fatalf("got %v", err)
	}
	if _, err := c.UserList(ctx); err != rpctypes.ErrPermissionDenied {
		t.Fatalf("got %v", err)
	}
}
