package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"google.golang.org/grpc"
)

// members is what the member list shows: the relays, not the cluster's members.
type members struct {
	r  *Relay
	mu sync.Mutex

	advertise string
	relays    map[string]endpoints.Endpoint // all that are registered, by key
}

// meta is what etcd's own proxy registers beside its address.
type meta struct {
	Name string `json:"name"`
}

// hostname is not empty: clients pass over members without a name.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "relay"
	}
	return name
}

// list answers MemberList, so that a client that syncs its endpoints stays with
// the relays.
func (ms *members) list(in grpc.ServerStream) error {
	q := new(pb.MemberListRequest)
	if err := in.RecvMsg(q); err != nil {
		return err
	}
	return in.SendMsg(ms.known())
}

// known are the relays. This one is among them even while it is not registered:
// a client that it sent to others only would be lost with those.
func (ms *members) known() *pb.MemberListResponse {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	a := &pb.MemberListResponse{Header: ms.r.head(0)}
	listed := false
	for key, e := range ms.relays {
		a.Members = append(a.Members, &pb.Member{ID: idOf(key), Name: nameOf(e), ClientURLs: []string{e.Addr}})
		listed = listed || e.Addr == ms.advertise
	}
	if !listed {
		a.Members = append(a.Members, &pb.Member{ID: idOf(ms.advertise), Name: hostname(), ClientURLs: []string{ms.advertise}})
	}
	slices.SortFunc(a.Members, func(x, y *pb.Member) int { return cmp.Compare(x.ClientURLs[0], y.ClientURLs[0]) })
	return a
}

// idOf makes members differ for tools that show them by number.
func idOf(key string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(key) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func nameOf(e endpoints.Endpoint) string {
	var m meta
	if text, ok := e.Metadata.(string); ok { //nolint:staticcheck // what etcd's own proxy uses, too
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return ""
		}
	}
	return m.Name
}

// register keeps the relay registered, and knows the others, until ctx ends.
func (ms *members) register(ctx context.Context) {
	if ms.r.cfg.ResolverPrefix == "" {
		return
	}
	c := ms.r.inside()
	var both sync.WaitGroup
	for _, f := range []func(context.Context, *clientv3.Client) error{ms.session, ms.follow} {
		both.Go(func() {
			var b backoff
			for ctx.Err() == nil {
				begun := time.Now()
				if err := f(ctx, c); err != nil && ctx.Err() == nil {
					ms.r.log.Warn("the registration of relays was interrupted", "err", err)
				}
				if time.Since(begun) > longestPause {
					b = backoff{}
				}
				b.pause(ctx)
			}
		})
	}
	both.Wait()
}

// session is one lease under which the relay is registered.
func (ms *members) session(ctx context.Context, c *clientv3.Client) error {
	opening, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	lease, err := c.Grant(opening, int64(ms.r.cfg.ResolverTTL))
	if err != nil {
		return err
	}
	s, err := concurrency.NewSession(c, concurrency.WithLease(lease.ID), concurrency.WithContext(c.Ctx()))
	if err != nil {
		return err
	}
	defer func() { // new clients do not find the relay any more; the session itself would try for a minute
		s.Orphan()
		ending, cancel := context.WithTimeout(c.Ctx(), askTimeout)
		defer cancel()
		if _, err := c.Revoke(ending, lease.ID); err != nil {
			ms.r.log.Warn("the registration could not be taken back, it ends by itself", "seconds", ms.r.cfg.ResolverTTL, "err", err)
		}
	}()
	em, err := endpoints.NewManager(c, ms.r.cfg.ResolverPrefix)
	if err != nil {
		return err
	}
	about, err := json.Marshal(meta{Name: hostname()})
	if err != nil {
		return err
	}
	ms.mu.Lock()
	addr := ms.advertise
	ms.mu.Unlock()
	err = em.AddEndpoint(opening, ms.r.cfg.ResolverPrefix+"/"+addr,
		endpoints.Endpoint{Addr: addr, Metadata: string(about)}, clientv3.WithLease(s.Lease())) //nolint:staticcheck // see nameOf
	if err != nil {
		return err
	}
	ms.r.log.Info("registered", "prefix", ms.r.cfg.ResolverPrefix, "addr", addr)
	select {
	case <-s.Done():
		return fmt.Errorf("the lease of %s has expired", addr)
	case <-ctx.Done():
		return nil
	}
}

// follow knows who is registered.
func (ms *members) follow(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	em, err := endpoints.NewManager(c, ms.r.cfg.ResolverPrefix)
	if err != nil {
		return err
	}
	updates, err := em.NewWatchChannel(ctx)
	if err != nil {
		return err
	}
	known := map[string]endpoints.Endpoint{} // the first update has all
	for us := range updates {
		ms.mu.Lock()
		for _, u := range us {
			if u.Op == endpoints.Delete {
				delete(known, u.Key)
			} else {
				known[u.Key] = u.Endpoint
			}
		}
		ms.relays = known
		ms.mu.Unlock()
	}
	return nil
}
