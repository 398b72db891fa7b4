package adapter

import (
	"context"
	"hash/crc32"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"

	"sluice/configcenter/adapter/mvcc"
)

// cluster shows a cluster of one member that cannot change.
type cluster struct {
	pb.UnimplementedClusterServer
	s *Server
}

func (c cluster) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	st, err := c.s.state(ctx)
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	url := c.s.advertise
	c.s.mu.Unlock()
	m := &pb.Member{ID: c.s.member, Name: "sluice"}
	if url != "" {
		m.ClientURLs = []string{url}
	}
	return &pb.MemberListResponse{Header: c.s.header(st.Rev), Members: []*pb.Member{m}}, nil
}

func (cluster) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

func (cluster) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

func (cluster) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

func (cluster) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, rpctypes.ErrGRPCMemberNotLearner
}

// maintenance answers what a store can answer. Snapshot and Downgrade are
// unimplemented: the store has its own tools for that.
type maintenance struct {
	pb.UnimplementedMaintenanceServer
	s *Server
}

// Alarm shows none: a store that is full fails its writes.
func (m maintenance) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, rpctypes.ErrGRPCNotCapable
	}
	st, err := m.s.state(ctx)
	return &pb.AlarmResponse{Header: m.s.header(st.Rev)}, err
}

func (m maintenance) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	resp := &pb.StatusResponse{Version: version.Version, StorageVersion: version.MinClusterVersion, Leader: m.s.member, RaftTerm: term}
	err := m.s.view(ctx, func(tx mvcc.Tx) (err error) {
		rev := tx.State().Rev
		resp.Header, resp.RaftIndex, resp.RaftAppliedIndex = m.s.header(rev), uint64(rev), uint64(rev)
		resp.DbSize, err = tx.Size()
		resp.DbSizeInUse = resp.DbSize
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (m maintenance) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := m.s.fault(m.s.db.Defragment(ctx)); err != nil {
		return nil, err
	}
	st, err := m.s.state(ctx)
	return &pb.DefragmentResponse{Header: m.s.header(st.Rev)}, err
}

func (m maintenance) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	h, err := m.HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: h.Header, Hash: h.Hash}, nil
}

// HashKV is the same for two servers on one store, and for two stores with the
// same content. It is not etcd's, which depends on how bbolt keeps keys.
func (m maintenance) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	resp := new(pb.HashKVResponse)
	err := m.s.view(ctx, func(tx mvcc.Tx) error {
		t := newRun(tx, nil)
		if err := t.readable(r.Revision); err != nil {
			return err
		}
		rev := r.Revision
		if rev <= 0 {
			rev = t.rev()
		}
		rows, err := tx.Range(mvcc.Span{Open: true}, rev, 0, true)
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		for i := range rows {
			for _, part := range [][]byte{rows[i].Key, rows[i].Value, strconv.AppendInt(nil, rows[i].Rev, 10)} {
				sum.Write(strconv.AppendInt(nil, int64(len(part)), 10))
				sum.Write(part)
			}
		}
		resp.Header, resp.Hash, resp.HashRevision, resp.CompactRevision = m.s.header(t.rev()), sum.Sum32(), rev, t.st.Compact
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (maintenance) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return nil, rpctypes.ErrGRPCBadLeaderTransferee
}

// auth says that there is none; who may connect is a matter of TLS.
type auth struct {
	pb.UnimplementedAuthServer
	s *Server
}

func (a auth) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	st, err := a.s.state(ctx)
	return &pb.AuthStatusResponse{Header: a.s.header(st.Rev), AuthRevision: 1}, err
}

func (auth) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

func (auth) AuthEnable(context.Context, *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}
