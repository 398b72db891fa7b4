package adapter

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"sluice/configcenter/adapter/auth"
	"sluice/configcenter/adapter/mvcc"
)

// Bounds of a lease, in seconds: those of an etcd with default settings.
const (
	minTTL = 2
	maxTTL = 9_000_000_000
)

// expireInterval is how often leases are looked through for ended ones.
const expireInterval = 500 * time.Millisecond

type lease struct {
	pb.UnimplementedLeaseServer
	s *Server
}

// LeaseGrant makes a lease; short ones are made longer, as etcd does.
func (l lease) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > maxTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	ttl := max(r.TTL, minTTL)
	resp := &pb.LeaseGrantResponse{TTL: ttl}
	err := l.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := l.s.permit(ctx, tx, (*caller).someone); err != nil {
			return err
		}
		resp.Header, resp.ID = &pb.ResponseHeader{Revision: tx.State().Rev}, r.ID
		for resp.ID == 0 {
			resp.ID = rand.Int64()
		}
		had, err := tx.Leases(resp.ID)
		if err != nil {
			return err
		}
		if len(had) > 0 {
			return rpctypes.ErrGRPCLeaseExist
		}
		d := time.Duration(ttl) * time.Second
		return tx.PutLease(mvcc.Lease{ID: resp.ID, TTL: d, Expires: time.Now().Add(d)})
	})
	return filled(l.s, resp, err)
}

// LeaseRevoke ends a lease and its keys.
func (l lease) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	resp := new(pb.LeaseRevokeResponse)
	err := l.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := l.s.permit(ctx, tx, func(c *caller) error {
			return first(c.someone(), c.mayLease(r.ID, auth.Write))
		}); err != nil {
			return err
		}
		had, err := tx.Leases(r.ID)
		if err != nil {
			return err
		}
		if r.ID == 0 || len(had) == 0 {
			return rpctypes.ErrGRPCLeaseNotFound
		}
		rev, err := end(tx, r.ID)
		resp.Header = &pb.ResponseHeader{Revision: rev}
		return err
	})
	return filled(l.s, resp, err)
}

// end removes a lease and its keys, and returns the revision then.
func end(tx mvcc.WriteTx, id int64) (int64, error) {
	keys, err := tx.LeaseKeys(id)
	if err != nil {
		return 0, err
	}
	t := newRun(tx, tx)
	for _, k := range keys {
		if err := t.append(mvcc.Row{Key: k, Deleted: true}); err != nil {
			return 0, err
		}
	}
	return t.rev(), tx.DeleteLease(id)
}

// LeaseKeepAlive answers each request of the stream; a lease that is not there
// has the TTL 0.
func (l lease) LeaseKeepAlive(in pb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- l.keepAlive(ctx, in) }() // ends with the call, whose Recv fails then
	select {
	case err := <-served:
		return err
	case <-l.s.done:
		return rpctypes.ErrGRPCStopped
	}
}

func (l lease) keepAlive(ctx context.Context, in pb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := &pb.LeaseKeepAliveResponse{ID: r.ID}
		err = l.s.update(ctx, func(tx mvcc.WriteTx) error {
			if err := l.s.permit(ctx, tx, func(c *caller) error {
				return first(c.someone(), c.mayLease(r.ID, auth.Write))
			}); err != nil {
				return err
			}
			resp.Header, resp.TTL = l.s.header(tx.State().Rev), 0
			ls, err := tx.Leases(r.ID)
			if err != nil || r.ID == 0 || len(ls) == 0 {
				return err
			}
			resp.TTL = int64(ls[0].TTL / time.Second)
			ls[0].Expires = time.Now().Add(ls[0].TTL)
			return tx.PutLease(ls[0])
		})
		if err != nil {
			return err
		}
		if err := in.Send(resp); err != nil {
			return err
		}
	}
}

// LeaseTimeToLive shows a lease; one that is not there has the TTL -1.
func (l lease) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	resp := &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}
	err := l.s.view(ctx, func(tx mvcc.Tx) error {
		if err := l.s.permit(ctx, tx, func(c *caller) error {
			if !r.Keys {
				return c.someone()
			}
			return first(c.someone(), c.mayLease(r.ID, auth.Read))
		}); err != nil {
			return err
		}
		resp.Header = &pb.ResponseHeader{Revision: tx.State().Rev}
		ls, err := tx.Leases(r.ID)
		if err != nil || r.ID == 0 || len(ls) == 0 {
			return err
		}
		resp.GrantedTTL = int64(ls[0].TTL / time.Second)
		resp.TTL = max(0, int64(time.Until(ls[0].Expires)/time.Second))
		if r.Keys {
			resp.Keys, err = tx.LeaseKeys(r.ID)
		}
		return err
	})
	return filled(l.s, resp, err)
}

// LeaseLeases lists all leases, the first to end first.
func (l lease) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	resp := new(pb.LeaseLeasesResponse)
	err := l.s.view(ctx, func(tx mvcc.Tx) error {
		c, err := l.s.caller(ctx, tx)
		if err == nil {
			err = c.someone()
		}
		if err != nil {
			return err
		}
		resp.Header = &pb.ResponseHeader{Revision: tx.State().Rev}
		ls, err := tx.Leases(0)
		slices.SortFunc(ls, func(a, b mvcc.Lease) int { return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.ID, b.ID)) })
		for _, one := range ls {
			if err := c.mayLease(one.ID, auth.Read); err != nil {
				return err
			}
			resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: one.ID})
		}
		return err
	})
	return filled(l.s, resp, err)
}

// expire ends leases whose time is over, until ctx ends. Several processes on
// one store may do so at the same time; their clocks have to agree.
func (s *Server) expire(ctx context.Context) {
	for pause(ctx, expireInterval) {
		var ids []int64
		err := s.db.View(ctx, func(tx mvcc.Tx) (err error) {
			ids, err = tx.Expired(time.Now())
			return err
		})
		for _, id := range ids {
			if err == nil {
				err = s.db.Update(ctx, func(tx mvcc.WriteTx) error { return endIfOver(tx, id) })
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("leases cannot be ended, trying again", "err", err)
		}
	}
}

// endIfOver looks again, because the lease may have been kept alive meanwhile.
func endIfOver(tx mvcc.WriteTx, id int64) error {
	ls, err := tx.Leases(id)
	if err != nil || len(ls) == 0 || ls[0].Expires.After(time.Now()) {
		return err
	}
	_, err = end(tx, id)
	return err
}

// forget compacts what is older than the retention, until ctx ends.
func (s *Server) forget(ctx context.Context) {
	const steps = 10 // of the retention
	var seen []int64
	for pause(ctx, s.cfg.Retention/steps) {
		now, _ := s.hub.now()
		seen = append(seen, now)
		if len(seen) <= steps {
			continue
		}
		old := seen[0]
		seen = seen[1:]
		err := s.db.Update(ctx, func(tx mvcc.WriteTx) error {
			if old <= tx.State().Compact || old <= 1 {
				return nil
			}
			return tx.Compact(old)
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("old revisions cannot be compacted, trying again", "err", err)
		}
	}
}
