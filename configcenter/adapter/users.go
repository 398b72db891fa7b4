package adapter

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter/adapter/auth"
	"sluice/configcenter/adapter/mvcc"
)

// users is etcd's Auth service.
type users struct {
	pb.UnimplementedAuthServer
	s *Server
}

// change lets an administrator change the rules, and returns the header of the
// answer. What f does is kept when it moved the rules' revision or switch.
func (u users) change(ctx context.Context, f func(*auth.Rules) error) (*pb.ResponseHeader, error) {
	h := new(pb.ResponseHeader)
	err := u.s.update(ctx, func(tx mvcc.WriteTx) error {
		if err := u.s.permit(ctx, tx, (*caller).admin); err != nil {
			return err
		}
		text, err := tx.Note(rulesNote)
		if err != nil {
			return err
		}
		r, err := auth.Decode(text) // not those that others read
		if err != nil {
			return err
		}
		h = u.s.header(tx.State().Rev)
		was, on := r.Revision, r.On
		if err := f(r); err != nil || was == r.Revision && on == r.On {
			return err
		}
		if text, err = r.Encode(); err != nil {
			return err
		}
		return tx.PutNote(rulesNote, text)
	})
	return h, err
}

// look shows the rules to who passes the check.
func (u users) look(ctx context.Context, f func(*caller) error) (*pb.ResponseHeader, error) {
	st, err := u.s.allowed(ctx, f)
	return u.s.header(st.Rev), err
}

// orNone returns no answer when there is an error.
func orNone[R any](resp *R, err error) (*R, error) {
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (u users) AuthEnable(ctx context.Context, _ *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	h, err := u.change(ctx, (*auth.Rules).Enable)
	return orNone(&pb.AuthEnableResponse{Header: h}, err)
}

func (u users) AuthDisable(ctx context.Context, _ *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	h, err := u.change(ctx, func(r *auth.Rules) error { r.Disable(); return nil })
	return orNone(&pb.AuthDisableResponse{Header: h}, err)
}

func (u users) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	resp := new(pb.AuthStatusResponse)
	h, err := u.look(ctx, func(c *caller) error {
		resp.Enabled, resp.AuthRevision = c.rules.On, c.rules.Revision
		return nil
	})
	resp.Header = h
	return orNone(resp, err)
}

// Authenticate compares the password outside of the view: that takes long on
// purpose.
func (u users) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	var rules *auth.Rules
	var rev int64
	err := u.s.view(ctx, func(tx mvcc.Tx) (err error) {
		rules, err = u.s.rules(tx)
		rev = tx.State().Rev
		return err
	})
	if err != nil {
		return nil, err
	}
	token, err := rules.Authenticate(r.Name, r.Password, time.Now())
	return orNone(&pb.AuthenticateResponse{Header: u.s.header(rev), Token: token}, err)
}

// hash refuses what cannot be hashed as etcd does.
func hash(password string) ([]byte, error) {
	h, err := auth.Hash(password)
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	return h, nil
}

func (u users) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	var h []byte
	if !r.Options.GetNoPassword() {
		// Who may not add a user shall not make the server hash.
		_, err := u.s.allowed(ctx, (*caller).admin)
		if err == nil {
			h, err = hash(r.Password)
		}
		if err != nil {
			return nil, err
		}
	}
	head, err := u.change(ctx, func(a *auth.Rules) error { return a.AddUser(r.Name, h, r.Options) })
	return orNone(&pb.AuthUserAddResponse{Header: head}, err)
}

func (u users) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	var h []byte
	if r.Password != "" {
		_, err := u.s.allowed(ctx, (*caller).admin)
		if err == nil {
			h, err = hash(r.Password)
		}
		if err != nil {
			return nil, err
		}
	}
	head, err := u.change(ctx, func(a *auth.Rules) error { return a.SetPassword(r.Name, h) })
	return orNone(&pb.AuthUserChangePasswordResponse{Header: head}, err)
}

func (u users) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.DeleteUser(r.Name) })
	return orNone(&pb.AuthUserDeleteResponse{Header: h}, err)
}

func (u users) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.Grant(r.User, r.Role) })
	return orNone(&pb.AuthUserGrantRoleResponse{Header: h}, err)
}

func (u users) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.Revoke(r.Name, r.Role) })
	return orNone(&pb.AuthUserRevokeRoleResponse{Header: h}, err)
}

// UserGet shows a user to root and to himself.
func (u users) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	resp := new(pb.AuthUserGetResponse)
	h, err := u.look(ctx, func(c *caller) (err error) {
		if err := c.admin(); err != nil && (c.user == "" || c.user != r.Name) {
			return err
		}
		resp.Roles, err = c.rules.RolesOf(r.Name)
		return err
	})
	resp.Header = h
	return orNone(resp, err)
}

func (u users) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	resp := new(pb.AuthUserListResponse)
	h, err := u.look(ctx, func(c *caller) error {
		resp.Users = c.rules.UserNames()
		return c.admin()
	})
	resp.Header = h
	return orNone(resp, err)
}

func (u users) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.AddRole(r.Name) })
	return orNone(&pb.AuthRoleAddResponse{Header: h}, err)
}

func (u users) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.DeleteRole(r.Role) })
	return orNone(&pb.AuthRoleDeleteResponse{Header: h}, err)
}

func (u users) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.Allow(r.Name, r.Perm) })
	return orNone(&pb.AuthRoleGrantPermissionResponse{Header: h}, err)
}

func (u users) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	h, err := u.change(ctx, func(a *auth.Rules) error { return a.Forbid(r.Role, r.Key, r.RangeEnd) })
	return orNone(&pb.AuthRoleRevokePermissionResponse{Header: h}, err)
}

// RoleGet shows a role to root and to who has it.
func (u users) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	resp := new(pb.AuthRoleGetResponse)
	h, err := u.look(ctx, func(c *caller) (err error) {
		if err := c.admin(); err != nil && !c.rules.Has(c.user, r.Role) {
			return err
		}
		resp.Perm, err = c.rules.Permissions(r.Role)
		return err
	})
	resp.Header = h
	return orNone(resp, err)
}

func (u users) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	resp := new(pb.AuthRoleListResponse)
	h, err := u.look(ctx, func(c *caller) error {
		resp.Roles = c.rules.RoleNames()
		return c.admin()
	})
	resp.Header = h
	return orNone(resp, err)
}
