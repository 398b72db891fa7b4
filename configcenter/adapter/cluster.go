package adapter

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"

	"sluice/configcenter/adapter/mvcc"
)

// clusterVersion is what etcd's members of this version agree on.
var clusterVersion = version.Cluster(version.Version) + ".0"

// cluster shows a cluster of one member that cannot change.
type cluster struct {
	pb.UnimplementedClusterServer
	s *Server
}

func (c cluster) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	st, err := c.s.allowed(ctx, (*caller).someone)
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

func (c cluster) MemberAdd(ctx context.Context, _ *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, c.s.refused(ctx, rpctypes.ErrGRPCNotCapable)
}

func (c cluster) MemberRemove(ctx context.Context, _ *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, c.s.refused(ctx, rpctypes.ErrGRPCNotCapable)
}

func (c cluster) MemberUpdate(ctx context.Context, _ *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, c.s.refused(ctx, rpctypes.ErrGRPCNotCapable)
}

func (c cluster) MemberPromote(ctx context.Context, _ *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, c.s.refused(ctx, rpctypes.ErrGRPCMemberNotLearner)
}

// refused is the error for what this server cannot do; first comes that the
// caller may not want it.
func (s *Server) refused(ctx context.Context, err error) error {
	_, denied := s.allowed(ctx, (*caller).admin)
	return first(denied, err)
}

// maintenance answers what a store can answer; see snapshot.go for the rest.
type maintenance struct {
	pb.UnimplementedMaintenanceServer
	s *Server
}

// Alarm shows none: a store that is full fails its writes.
func (m maintenance) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, m.s.refused(ctx, rpctypes.ErrGRPCNotCapable)
	}
	check := (*caller).admin
	if r.Action == pb.AlarmRequest_GET {
		check = (*caller).someone
	}
	st, err := m.s.allowed(ctx, check)
	return &pb.AlarmResponse{Header: m.s.header(st.Rev)}, err
}

func (m maintenance) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	resp := &pb.StatusResponse{Version: version.Version, StorageVersion: clusterVersion, Leader: m.s.member, RaftTerm: term}
	err := m.s.view(ctx, func(tx mvcc.Tx) (err error) {
		if err := m.s.permit(ctx, tx, (*caller).someone); err != nil {
			return err
		}
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
	if _, err := m.s.allowed(ctx, (*caller).admin); err != nil {
		return nil, err
	}
	return orNone(&pb.DefragmentResponse{}, m.s.fault(m.s.db.Defragment(ctx)))
}

func (m maintenance) MoveLeader(ctx context.Context, _ *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return nil, m.s.refused(ctx, rpctypes.ErrGRPCBadLeaderTransferee)
}

// Downgrade: etcd's own stores only have versions.
func (m maintenance) Downgrade(ctx context.Context, _ *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, m.s.refused(ctx, rpctypes.ErrGRPCNotCapable)
}
