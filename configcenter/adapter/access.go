package adapter

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"sluice/configcenter/adapter/auth"
	"sluice/configcenter/adapter/mvcc"
)

// rulesNote is where the store keeps users and roles.
const rulesNote = "auth"

// rules are the users and roles, and the note from which they were read.
type rules struct {
	*auth.Rules
	text []byte
}

// known is the newest rules that were read.
type known = atomic.Pointer[rules]

// rules returns those that the view sees. They are decoded again only when the
// note is another one, and must not be changed. The store's count of notes would
// not tell: an update may see a note that is taken back with it, and the next
// one has the same count.
func (s *Server) rules(tx mvcc.Tx) (*auth.Rules, error) {
	text, err := tx.Note(rulesNote)
	if err != nil {
		return nil, err
	}
	if k := s.known.Load(); k != nil && bytes.Equal(k.text, text) { // nearly always the same slice
		return k.Rules, nil
	}
	r, err := auth.Decode(text)
	if err != nil {
		return nil, err
	}
	s.known.Store(&rules{r, text})
	return r, nil
}

// caller is who makes a request, and what he may do.
type caller struct {
	rules *auth.Rules
	user  string // "": nobody
	tx    mvcc.Tx
}

// caller finds out who makes the request. A token that is no good is an error,
// no token is nobody.
func (s *Server) caller(ctx context.Context, tx mvcc.Tx) (*caller, error) {
	r, err := s.rules(tx)
	if err != nil || !r.On {
		return &caller{rules: r, tx: tx}, err
	}
	c := &caller{rules: r, tx: tx}
	if token := bearer(ctx); token != "" {
		c.user, err = r.Who(token, time.Now())
	}
	return c, err
}

// bearer is the token that came with a request.
func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, name := range []string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if v := md.Get(name); len(v) > 0 {
			return strings.TrimPrefix(v[0], "Bearer ")
		}
	}
	return ""
}

// someone refuses nobody.
func (c *caller) someone() error {
	if c.rules.On && c.user == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	return nil
}

func (c *caller) admin() error { return c.rules.Admin(c.user) }

func (c *caller) mayRange(r *pb.RangeRequest) error {
	return c.rules.May(c.user, auth.Read, r.Key, r.RangeEnd)
}

func (c *caller) mayPut(r *pb.PutRequest) error {
	if !c.rules.On {
		return nil
	}
	if err := c.rules.May(c.user, auth.Write, r.Key, nil); err != nil {
		return err
	}
	// Who puts a key on a lease could end the lease's other keys.
	if err := c.mayLease(r.Lease, auth.Write); err != nil {
		return err
	}
	if r.PrevKv {
		return c.rules.May(c.user, auth.Read, r.Key, nil)
	}
	return nil
}

func (c *caller) mayDelete(r *pb.DeleteRangeRequest) error {
	if err := c.rules.May(c.user, auth.Write, r.Key, r.RangeEnd); err != nil || !r.PrevKv {
		return err
	}
	return c.rules.May(c.user, auth.Read, r.Key, r.RangeEnd)
}

// mayTxn looks at both branches, as etcd does: which one is taken is already
// something that not everybody may know.
func (c *caller) mayTxn(r *pb.TxnRequest) error {
	if !c.rules.On {
		return nil
	}
	for _, k := range r.Compare {
		if err := c.rules.May(c.user, auth.Read, k.Key, k.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := c.mayOp(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *caller) mayOp(op *pb.RequestOp) error {
	switch o := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return c.mayRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return c.mayPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return c.mayDelete(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return c.mayTxn(o.RequestTxn)
	}
	return nil
}

// mayLease says whether the caller may do something with each key of a lease.
func (c *caller) mayLease(id int64, do auth.Kind) error {
	if id == 0 || c.admin() == nil {
		return nil
	}
	keys, err := c.tx.LeaseKeys(id)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := c.rules.May(c.user, do, k, nil); err != nil {
			return err
		}
	}
	return nil
}

// allowed runs a check of the caller against the present rules, for requests
// that read nothing else.
func (s *Server) allowed(ctx context.Context, check func(*caller) error) (st mvcc.State, err error) {
	err = s.view(ctx, func(tx mvcc.Tx) error {
		st = tx.State()
		c, err := s.caller(ctx, tx)
		if err != nil {
			return err
		}
		return check(c)
	})
	return st, err
}

// permit runs one check inside a view or an update.
func (s *Server) permit(ctx context.Context, tx mvcc.Tx, check func(*caller) error) error {
	c, err := s.caller(ctx, tx)
	if err != nil {
		return err
	}
	return check(c)
}
