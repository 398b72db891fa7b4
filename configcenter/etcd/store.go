package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// pageSize is how many keys are read at once.
const pageSize = 2000

// Get returns one object.
func (c *Center) Get(ctx context.Context, k resource.Kind, id string) (configcenter.Change, error) {
	var out configcenter.Change
	key := c.key(k, id)
	err := c.ask(ctx, c.admin, "get "+key, func(ctx context.Context, kv *clientv3.Client) error {
		r, err := kv.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(r.Kvs) == 0 {
			return configcenter.ErrNotFound
		}
		out = object(k, id, r.Kvs[0])
		return nil
	})
	return out, err
}

// List returns all objects of a kind in key order, as they were at one revision.
func (c *Center) List(ctx context.Context, k resource.Kind) ([]configcenter.Change, error) {
	return c.list(ctx, k, configcenter.Dir(k))
}

// ListBelow returns the objects of a kind that belong to parent (a consumer's
// credentials, a service's cost decorations), without reading those of others.
func (c *Center) ListBelow(ctx context.Context, k resource.Kind, parent string) ([]configcenter.Change, error) {
	return c.list(ctx, k, configcenter.Path(k, parent+"/"+string(k)+"/"))
}

func (c *Center) list(ctx context.Context, k resource.Kind, below string) ([]configcenter.Change, error) {
	all, _, err := c.read(ctx, c.admin, c.cfg.Prefix+below)
	if err != nil {
		return nil, err
	}
	var out []configcenter.Change
	for _, o := range all {
		if o.Kind == k {
			out = append(out, o)
		}
	}
	return out, nil
}

// version is a state of a store: a cluster that was restored from a backup is
// another one.
type version struct {
	cluster uint64
	rev     int64
}

// read returns the objects below a key in key order, page by page but as they
// were at one version, which it also returns.
func (c *Center) read(ctx context.Context, l *link, from string) ([]configcenter.Change, version, error) {
	var out []configcenter.Change
	at, err := c.all(ctx, l, from, func(kv *mvccpb.KeyValue) {
		if o, ok := c.parse(kv); ok {
			out = append(out, o)
		}
	})
	return out, at, err
}

// readAll is read with every key and its revision, objects or not.
func (c *Center) readAll(ctx context.Context, l *link, from string) ([]configcenter.Change, *ledger, version, error) {
	var out []configcenter.Change
	known := newLedger()
	at, err := c.all(ctx, l, from, func(kv *mvccpb.KeyValue) {
		known.put(kv)
		if o, ok := c.parse(kv); ok {
			out = append(out, o)
		}
	})
	return out, known, at, err
}

// all hands over all keys below one, as they were at one version: as a stream
// where the server knows that (etcd 3.7), in pages where not.
func (c *Center) all(ctx context.Context, l *link, from string, take func(*mvccpb.KeyValue)) (version, error) {
	at, err := c.streamed(ctx, l, from, take)
	if status.Code(err) == codes.Unimplemented {
		return c.pages(ctx, l, from, take)
	}
	return at, err
}

// streamed hands over all keys below one from a single stream. Its parts must
// not be further apart than the time limit of a request.
func (c *Center) streamed(ctx context.Context, l *link, from string, take func(*mvccpb.KeyValue)) (version, error) {
	cl, err := l.use(ctx)
	if err != nil {
		return version{}, fmt.Errorf("etcd read %s: %w", from, err)
	}
	defer l.done(cl)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(c.cfg.Timeout, func() { cancel(errLate) })
	defer late.Stop()
	at, err := receiveAll(ctx, cl.Client, from, func(r *etcdserverpb.RangeResponse) {
		late.Stop() // what take does is not the server's time
		for _, kv := range r.Kvs {
			take(kv)
		}
		late.Reset(c.cfg.Timeout)
	})
	if err != nil && context.Cause(ctx) == errLate {
		l.leave(cl)
		return version{}, fmt.Errorf("etcd read %s: %w: nothing within %v", from, errLate, c.cfg.Timeout)
	}
	if err != nil {
		if leaves(err) {
			l.leave(cl)
		}
		return version{}, fmt.Errorf("etcd read %s: %w", from, err)
	}
	return at, nil
}

// errLate says that the server has stopped in the middle of an answer.
var errLate = errors.New("the server does not go on")

func receiveAll(ctx context.Context, client *clientv3.Client, from string, take func(*etcdserverpb.RangeResponse)) (at version, err error) {
	req := &etcdserverpb.RangeRequest{Key: []byte(from), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(from))}
	s, err := etcdserverpb.NewKVClient(client.ActiveConnection()).RangeStream(ctx, req, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return at, clientv3.ContextError(ctx, err)
	}
	for {
		part, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF) && at.rev == 0:
			return at, errors.New("the stream ended before its end")
		case errors.Is(err, io.EOF):
			return at, nil
		case err != nil:
			if code := status.Code(err); code == codes.Unimplemented {
				return at, err
			}
			return at, clientv3.ContextError(ctx, err)
		}
		r := part.GetRangeResponse()
		if h := r.GetHeader(); h != nil { // of the last part only
			at = version{cluster: h.ClusterId, rev: h.Revision}
		}
		take(r)
	}
}

// pages hands over all keys below one, as they were at one version.
func (c *Center) pages(ctx context.Context, l *link, from string, take func(*mvccpb.KeyValue), opts ...clientv3.OpOption) (version, error) {
	var at version
	key, end := from, clientv3.GetPrefixRangeEnd(from)
	for more := true; more; {
		err := c.ask(ctx, l, "read "+from, func(ctx context.Context, kv *clientv3.Client) error {
			o := append([]clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(at.rev)}, opts...)
			r, err := kv.Get(ctx, key, o...)
			if err != nil {
				return err
			}
			if at.rev == 0 {
				at = version{cluster: r.Header.ClusterId, rev: r.Header.Revision}
			}
			for _, kv := range r.Kvs {
				take(kv)
			}
			if more = r.More; more {
				key = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
			}
			return nil
		})
		if err != nil {
			return version{}, err
		}
	}
	return at, nil
}

// Put stores an object, and reads its revisions back in the same transaction.
func (c *Center) Put(ctx context.Context, k resource.Kind, id string, value []byte, o configcenter.PutOptions) (configcenter.Change, error) {
	var out configcenter.Change
	key := c.key(k, id)
	run := c.write
	if o.Rev == 0 && o.TTL == 0 {
		run = c.ask // done twice is done
	}
	err := run(ctx, c.admin, "put "+key, func(ctx context.Context, kv *clientv3.Client) error {
		var opts []clientv3.OpOption
		if o.TTL > 0 {
			lease, err := kv.Grant(ctx, o.TTL)
			if err != nil {
				return err
			}
			opts = append(opts, clientv3.WithLease(lease.ID))
		}
		txn := kv.Txn(ctx)
		if o.Rev != 0 {
			txn = txn.If(clientv3.Compare(clientv3.ModRevision(key), "=", o.Rev))
		}
		r, err := txn.Then(clientv3.OpPut(key, string(value), opts...), clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		if !r.Succeeded {
			return configcenter.ErrConflict // a lease made for nothing runs out by itself
		}
		out = object(k, id, r.Responses[1].GetResponseRange().Kvs[0])
		return nil
	})
	return out, err
}

// Delete removes an object.
func (c *Center) Delete(ctx context.Context, k resource.Kind, id string) error {
	key := c.key(k, id)
	return c.write(ctx, c.admin, "delete "+key, func(ctx context.Context, kv *clientv3.Client) error {
		r, err := kv.Delete(ctx, key)
		if err == nil && r.Deleted == 0 {
			err = configcenter.ErrNotFound
		}
		return err
	})
}

// NextID is the revision of a write to the key gen_id.
func (c *Center) NextID(ctx context.Context) (int64, error) {
	var id int64
	key := c.cfg.Prefix + "/gen_id"
	err := c.ask(ctx, c.admin, "put "+key, func(ctx context.Context, kv *clientv3.Client) error {
		r, err := kv.Put(ctx, key, "1")
		if err == nil {
			id = r.Header.Revision
		}
		return err
	})
	return id, err
}

// parse turns a key and its value into an object; false for everything else
// that lies below the prefix.
func (c *Center) parse(kv *mvccpb.KeyValue) (configcenter.Change, bool) {
	if string(kv.Value) == directory {
		return configcenter.Change{}, false
	}
	k, id, ok := c.parseKey(kv.Key)
	if !ok {
		return configcenter.Change{}, false
	}
	return object(k, id, kv), true
}

func (c *Center) parseKey(key []byte) (resource.Kind, string, bool) {
	path, ok := strings.CutPrefix(string(key), c.cfg.Prefix)
	if !ok {
		return "", "", false
	}
	return configcenter.ParsePath(path)
}

func object(k resource.Kind, id string, kv *mvccpb.KeyValue) configcenter.Change {
	value := kv.Value
	if value == nil {
		value = []byte{} // an empty value is not a deletion
	}
	return configcenter.Change{Kind: k, ID: id, Value: value, Create: kv.CreateRevision, Mod: kv.ModRevision}
}
