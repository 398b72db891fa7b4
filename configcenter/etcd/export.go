package etcd

import (
	"cmp"
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
	target, err := to.admin.use(ctx)
	if err != nil {
		return err
	}
	defer to.admin.done(target)
	if err := to.checkEmpty(ctx, overwrite); err != nil {
		return err
	}
	n, done, at, err := c.copyTo(ctx, to, target.Client, nil)
	if err != nil {
		return err
	}
	copied(n, at.rev)
	if follow {
		return c.followTo(ctx, to, target.Client, at.rev, copied)
	}
	n, _, at, err = c.copyTo(ctx, to, target.Client, done)
	if err == nil && n > 0 {
		copied(n, at.rev)
	}
	return err
}

// copyTo makes the target what the source is at one version. before is what the
// call before copied, each key with its revision: only what differs is written.
// It returns how many keys those were, and the next before.
//
// A watch would bring the same, but not tell when it has brought all: there are
// servers that say so too early, and servers that keep silent.
func (c *Center) copyTo(ctx context.Context, to *Center, target *clientv3.Client, before map[string]int64) (n int, now map[string]int64, at version, err error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	now = map[string]int64{}
	var failed error
	at, err = c.all(reading, c.admin, c.cfg.Prefix+"/", func(kv *mvccpb.KeyValue) {
		now[string(kv.Key)] = kv.ModRevision
		if failed != nil || before[string(kv.Key)] == kv.ModRevision {
			return
		}
		n++
		if failed = to.put(ctx, target, c.under(to, kv.Key), string(kv.Value)); failed != nil {
			cancel()
		}
	})
	for key := range before {
		if _, there := now[key]; !there && failed == nil && err == nil {
			n++
			failed = to.drop(ctx, target, c.under(to, []byte(key)))
		}
	}
	return n, now, at, cmp.Or(failed, err)
}

// under is a key of the source as it is in the target.
func (c *Center) under(to *Center, key []byte) string {
	return to.cfg.Prefix + string(key[len(c.cfg.Prefix):])
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

func (c *Center) drop(ctx context.Context, client *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if _, err := client.Delete(ctx, key); err != nil {
		return fmt.Errorf("etcd delete %s: %w", key, err)
	}
	return nil
}

// followTo applies the changes after rev until ctx ends.
func (c *Center) followTo(ctx context.Context, to *Center, target *clientv3.Client, rev int64, copied func(int, int64)) error {
	client, err := c.admin.use(ctx)
	if err != nil {
		return err
	}
	defer c.admin.done(client)
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for w := range client.Watch(watching, c.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := w.Err(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("etcd watch: %w", err)
		}
		for _, e := range w.Events {
			if e.Type == mvccpb.Event_PUT {
				err = to.put(ctx, target, c.under(to, e.Kv.Key), string(e.Kv.Value))
			} else {
				err = to.drop(ctx, target, c.under(to, e.Kv.Key))
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			rev = e.Kv.ModRevision
		}
		if len(w.Events) > 0 {
			copied(len(w.Events), rev)
		}
	}
	if ctx.Err() == nil {
		return errors.New("etcd watch: it has ended")
	}
	return nil
}
