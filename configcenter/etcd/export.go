package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrNotEmpty is returned by Export for a target that has keys of the prefix.
var ErrNotEmpty = errors.New("the target has keys below the prefix already")

// Export copies every key below the prefix to another cluster, as they are at
// one revision, and then what changed meanwhile. With follow it goes on with
// every change until ctx ends, which is then no error. copied tells of each
// step how many keys the target was given and the source's revision.
func (c *Center) Export(ctx context.Context, to *Center, overwrite, follow bool, copied func(keys int, rev int64)) error {
	from := c.cfg.Prefix + "/"
	target, err := to.admin.use(ctx)
	if err != nil {
		return err
	}
	defer to.admin.done(target)
	if err := to.checkEmpty(ctx, overwrite); err != nil {
		return err
	}
	keys := 0
	var failed error
	at, err := c.all(ctx, c.admin, from, func(kv *mvccpb.KeyValue) {
		if failed == nil {
			keys++
			failed = to.put(ctx, target.Client, to.cfg.Prefix+string(kv.Key[len(c.cfg.Prefix):]), string(kv.Value))
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	copied(keys, at.rev)
	return c.catchUp(ctx, to, target.Client, at.rev, follow, copied)
}

func (c *Center) checkEmpty(ctx context.Context, overwrite bool) error {
	if overwrite {
		return nil
	}
	return c.ask(ctx, c.admin, "look at "+c.cfg.Prefix, func(ctx context.Context, kv *clientv3.Client) error {
		r, err := kv.Get(ctx, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && r.Count > 0 {
			err = ErrNotEmpty
		}
		return err
	})
}

func (c *Center) put(ctx context.Context, client *clientv3.Client, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if _, err := client.Put(ctx, key, value); err != nil {
		return fmt.Errorf("etcd put %s: %w", key, err)
	}
	return nil
}

// catchUp applies the changes after rev: those that are there by now, or all to come.
func (c *Center) catchUp(ctx context.Context, to *Center, target *clientv3.Client, rev int64, follow bool, copied func(int, int64)) error {
	client, err := c.admin.use(ctx)
	if err != nil {
		return err
	}
	defer c.admin.done(client)
	now, err := client.Get(ctx, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("etcd %v: %w", c.cfg.Endpoints, err)
	}
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := client.Watch(watching, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(rev+1), clientv3.WithProgressNotify())
	for follow || rev < now.Header.Revision {
		if !follow { // nothing below the prefix may have changed: ask how far the watch is
			if err := client.RequestProgress(watching); err != nil {
				return fmt.Errorf("etcd watch: %w", err)
			}
		}
		w, ok := <-changes
		switch {
		case ctx.Err() != nil && follow:
			return nil
		case !ok:
			return ctx.Err()
		case w.Err() != nil:
			return fmt.Errorf("etcd watch: %w", w.Err())
		}
		for _, e := range w.Events {
			key := to.cfg.Prefix + string(e.Kv.Key[len(c.cfg.Prefix):])
			if e.Type == mvccpb.Event_PUT {
				err = to.put(ctx, target, key, string(e.Kv.Value))
			} else if _, err = target.Delete(ctx, key); err != nil {
				err = fmt.Errorf("etcd delete %s: %w", key, err)
			}
			if err != nil && follow && ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			rev = e.Kv.ModRevision
		}
		if w.IsProgressNotify() {
			rev = max(rev, w.Header.Revision)
		}
		if len(w.Events) > 0 {
			copied(len(w.Events), rev)
		}
	}
	return nil
}
