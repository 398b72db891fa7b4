// Package auth is who may do what in the etcd adapter: users, roles and
// permissions with etcd's meaning and etcd's errors, and the tokens that show
// who somebody is. It knows neither a store nor a connection.
package auth

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// root is the user that has to be there when the rules are on, and the role
// that may do everything.
const root = "root"

// errNoPassword has no code in etcd either.
var errNoPassword = status.Error(codes.Unknown, "auth: authentication failed, password was given for no password user")

// Rules are all users and roles. They may be read by several goroutines, and
// must not be changed meanwhile.
type Rules struct {
	On       bool
	Revision uint64 // moves with every change
	Secret   []byte // tokens are signed with it
	Users    map[string]*authpb.User
	Roles    map[string]*authpb.Role

	spans map[string]*spans // by user, made on decoding
}

// New returns the rules of a new store: nobody, and off.
func New() *Rules {
	return &Rules{Revision: 1, Users: map[string]*authpb.User{}, Roles: map[string]*authpb.Role{}}
}

// stored is how rules are kept: users and roles in etcd's own form.
type stored struct {
	On           bool
	Revision     uint64
	Secret       []byte
	Users, Roles [][]byte
}

// Decode reads what Encode wrote; nothing is New.
func Decode(text []byte) (*Rules, error) {
	r := New()
	if text == nil {
		return r, nil
	}
	var in stored
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("users and roles: %w", err)
	}
	r.On, r.Revision, r.Secret = in.On, in.Revision, in.Secret
	for _, b := range in.Users {
		u := new(authpb.User)
		if err := proto.Unmarshal(b, u); err != nil {
			return nil, fmt.Errorf("user: %w", err)
		}
		r.Users[string(u.Name)] = u
	}
	for _, b := range in.Roles {
		o := new(authpb.Role)
		if err := proto.Unmarshal(b, o); err != nil {
			return nil, fmt.Errorf("role: %w", err)
		}
		r.Roles[string(o.Name)] = o
	}
	r.spread()
	return r, nil
}

// Encode writes the rules.
func (r *Rules) Encode() ([]byte, error) {
	out := stored{On: r.On, Revision: r.Revision, Secret: r.Secret}
	for _, name := range r.UserNames() {
		b, err := proto.Marshal(r.Users[name])
		if err != nil {
			return nil, err
		}
		out.Users = append(out.Users, b)
	}
	for _, name := range r.RoleNames() {
		b, err := proto.Marshal(r.Roles[name])
		if err != nil {
			return nil, err
		}
		out.Roles = append(out.Roles, b)
	}
	return json.Marshal(out)
}

// UserNames are sorted.
func (r *Rules) UserNames() []string { return slices.Sorted(maps.Keys(r.Users)) }

// RoleNames are sorted.
func (r *Rules) RoleNames() []string { return slices.Sorted(maps.Keys(r.Roles)) }

// Enable switches the rules on. Earlier tokens end, as in etcd.
func (r *Rules) Enable() error {
	if r.On {
		return nil
	}
	u := r.Users[root]
	if u == nil {
		return rpctypes.ErrGRPCRootUserNotExist
	}
	if !slices.Contains(u.Roles, root) {
		return rpctypes.ErrGRPCRootRoleNotExist
	}
	r.Secret = make([]byte, 32)
	rand.Read(r.Secret)
	r.On = true
	return nil
}

// Disable switches the rules off.
func (r *Rules) Disable() {
	if r.On {
		r.On = false
		r.Revision++
	}
}

func (r *Rules) user(name string) (*authpb.User, error) {
	if u := r.Users[name]; u != nil {
		return u, nil
	}
	return nil, rpctypes.ErrGRPCUserNotFound
}

func (r *Rules) role(name string) (*authpb.Role, error) {
	if o := r.Roles[name]; o != nil {
		return o, nil
	}
	return nil, rpctypes.ErrGRPCRoleNotFound
}

// AddUser adds one; hash is that of the password, and not used for users
// without one.
func (r *Rules) AddUser(name string, hash []byte, o *authpb.UserAddOptions) error {
	if name == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	if r.Users[name] != nil {
		return rpctypes.ErrGRPCUserAlreadyExist
	}
	if o == nil {
		o = &authpb.UserAddOptions{}
	}
	if o.NoPassword {
		hash = nil
	}
	r.Users[name] = &authpb.User{Name: []byte(name), Password: hash, Options: o}
	r.Revision++
	return nil
}

// DeleteUser removes one, but root only while the rules are off.
func (r *Rules) DeleteUser(name string) error {
	if r.On && name == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	if _, err := r.user(name); err != nil {
		return err
	}
	delete(r.Users, name)
	r.Revision++
	return nil
}

// SetPassword ends the user's tokens, too.
func (r *Rules) SetPassword(name string, hash []byte) error {
	u, err := r.user(name)
	if err != nil {
		return err
	}
	if u.Options.GetNoPassword() {
		hash = nil
	}
	u.Password = hash
	r.Revision++
	return nil
}

// Grant gives a user a role; again is no error.
func (r *Rules) Grant(user, role string) error {
	u, err := r.user(user)
	if err != nil {
		return err
	}
	if role != root {
		if _, err := r.role(role); err != nil {
			return err
		}
	}
	if i, had := slices.BinarySearch(u.Roles, role); !had {
		u.Roles = slices.Insert(u.Roles, i, role)
		r.Revision++
	}
	return nil
}

// Revoke takes a role from a user.
func (r *Rules) Revoke(user, role string) error {
	if r.On && user == root && role == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	u, err := r.user(user)
	if err != nil {
		return err
	}
	i, had := slices.BinarySearch(u.Roles, role)
	if !had {
		return rpctypes.ErrGRPCRoleNotGranted
	}
	u.Roles = slices.Delete(u.Roles, i, i+1)
	r.Revision++
	return nil
}

// RolesOf a user, sorted.
func (r *Rules) RolesOf(user string) ([]string, error) {
	u, err := r.user(user)
	return u.GetRoles(), err
}

// Has says whether the user has the role.
func (r *Rules) Has(user, role string) bool {
	return slices.Contains(r.Users[user].GetRoles(), role)
}
