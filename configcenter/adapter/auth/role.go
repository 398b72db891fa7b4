package auth

import (
	"bytes"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/v3/adt"
)

// AddRole adds a role without permissions.
func (r *Rules) AddRole(name string) error {
	if name == "" {
		return rpctypes.ErrGRPCRoleEmpty
	}
	if r.Roles[name] != nil {
		return rpctypes.ErrGRPCRoleAlreadyExist
	}
	r.Roles[name] = &authpb.Role{Name: []byte(name)}
	r.Revision++
	return nil
}

// DeleteRole takes the role from its users, too; root's only while the rules
// are off.
func (r *Rules) DeleteRole(name string) error {
	if r.On && name == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	if _, err := r.role(name); err != nil {
		return err
	}
	delete(r.Roles, name)
	for _, u := range r.Users {
		u.Roles = slices.DeleteFunc(u.Roles, func(o string) bool { return o == name })
	}
	r.Revision++
	return nil
}

// Allow adds a permission to a role, or changes the one on the same range.
func (r *Rules) Allow(role string, p *authpb.Permission) error {
	if p == nil {
		return rpctypes.ErrGRPCPermissionNotGiven
	}
	if len(p.Key) == 0 || len(p.RangeEnd) > 0 && !open(p.RangeEnd) && bytes.Compare(p.Key, p.RangeEnd) >= 0 {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	o, err := r.role(role)
	if err != nil {
		return err
	}
	i, _ := slices.BinarySearchFunc(o.KeyPermission, p.Key, func(had *authpb.Permission, key []byte) int { return bytes.Compare(had.Key, key) })
	if i < len(o.KeyPermission) && same(o.KeyPermission[i], p.Key, p.RangeEnd) {
		o.KeyPermission[i].PermType = p.PermType
	} else {
		o.KeyPermission = append(o.KeyPermission, &authpb.Permission{PermType: p.PermType, Key: p.Key, RangeEnd: p.RangeEnd})
		slices.SortFunc(o.KeyPermission, func(a, b *authpb.Permission) int { return bytes.Compare(a.Key, b.Key) })
	}
	r.Revision++
	return nil
}

// Forbid takes the permission on a range from a role.
func (r *Rules) Forbid(role string, key, end []byte) error {
	o, err := r.role(role)
	if err != nil {
		return err
	}
	n := len(o.KeyPermission)
	o.KeyPermission = slices.DeleteFunc(o.KeyPermission, func(p *authpb.Permission) bool { return same(p, key, end) })
	if len(o.KeyPermission) == n {
		return rpctypes.ErrGRPCPermissionNotGranted
	}
	r.Revision++
	return nil
}

func same(p *authpb.Permission, key, end []byte) bool {
	return bytes.Equal(p.Key, key) && bytes.Equal(p.RangeEnd, end)
}

// Permissions of a role; root's is everything, whatever it was given.
func (r *Rules) Permissions(role string) ([]*authpb.Permission, error) {
	o, err := r.role(role)
	if err != nil {
		return nil, err
	}
	if role == root {
		return []*authpb.Permission{{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}}}, nil
	}
	return o.KeyPermission, nil
}

// Kind is what somebody wants to do with keys.
type Kind = authpb.Permission_Type

// Kinds of which a permission may be.
const (
	Read  = authpb.Permission_READ
	Write = authpb.Permission_WRITE
)

// spans is what a user may read and write.
type spans struct{ read, write adt.IntervalTree }

// spread joins the permissions of each user's roles.
func (r *Rules) spread() {
	r.spans = map[string]*spans{}
	for name, u := range r.Users {
		s := &spans{adt.NewIntervalTree(), adt.NewIntervalTree()}
		for _, role := range u.Roles {
			for _, p := range r.Roles[role].GetKeyPermission() {
				s.add(p)
			}
		}
		r.spans[name] = s
	}
}

func (s *spans) add(p *authpb.Permission) {
	in := interval(p.Key, p.RangeEnd)
	if p.PermType == Read || p.PermType == authpb.Permission_READWRITE {
		s.read.Insert(in, struct{}{})
	}
	if p.PermType == Write || p.PermType == authpb.Permission_READWRITE {
		s.write.Insert(in, struct{}{})
	}
}

func open(end []byte) bool { return len(end) == 1 && end[0] == 0 }

func interval(key, end []byte) adt.Interval {
	switch {
	case len(end) == 0:
		return adt.NewBytesAffinePoint(key)
	case open(end):
		return adt.NewBytesAffineInterval(key, nil)
	}
	return adt.NewBytesAffineInterval(key, end)
}

// May says whether a user may do something with a range; "" is nobody.
func (r *Rules) May(user string, do Kind, key, end []byte) error {
	if !r.On {
		return nil
	}
	if user == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	u := r.Users[user]
	if u == nil {
		return rpctypes.ErrGRPCPermissionDenied
	}
	if slices.Contains(u.Roles, root) {
		return nil
	}
	tree := r.spans[user].read
	if do == Write {
		tree = r.spans[user].write
	}
	in := interval(key, end)
	if len(end) == 0 && tree.Intersects(in) || len(end) > 0 && tree.Contains(in) {
		return nil
	}
	return rpctypes.ErrGRPCPermissionDenied
}

// Admin says whether a user may do what is root's.
func (r *Rules) Admin(user string) error {
	if !r.On {
		return nil
	}
	if user == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	u, err := r.user(user)
	if err != nil {
		return err
	}
	if !slices.Contains(u.Roles, root) {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}
