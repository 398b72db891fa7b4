package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errAudit says that it is time to compare with the store.
var errAudit = errors.New("time to compare with etcd")

// errDrift says that what the watch brought is not what the store holds.
var errDrift = errors.New("configuration drift")

// audit compares what the watch brought with what the store held at the same
// revision: the number of keys and the highest of their revisions, which is
// cheap for both sides; key by key only when these differ.
func (r *reader) audit(ctx context.Context) error {
	from := r.c.cfg.Prefix + "/"
	var count, highest int64
	err := r.c.do(ctx, "compare "+from, func(ctx context.Context, kv *clientv3.Client) error {
		all, at := clientv3.WithPrefix(), clientv3.WithRev(r.at.rev)
		n, err := kv.Get(ctx, from, all, at, clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		last, err := kv.Get(ctx, from, all, at, clientv3.WithKeysOnly(), clientv3.WithLimit(1),
			clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
		if err != nil {
			return err
		}
		count = n.Count
		for _, kv := range last.Kvs {
			highest = kv.ModRevision
		}
		return nil
	})
	if err != nil {
		r.unsure(err)
		return nil
	}
	var mine int64
	for _, mod := range r.known {
		mine = max(mine, mod)
	}
	if count == int64(len(r.known)) && highest == mine {
		return nil
	}
	return r.compare(ctx, from)
}

// compare looks at every key, without the values.
func (r *reader) compare(ctx context.Context, from string) error {
	theirs := map[string]int64{}
	_, err := r.c.pages(ctx, from, func(kv *mvccpb.KeyValue) { theirs[string(kv.Key)] = kv.ModRevision },
		clientv3.WithKeysOnly(), clientv3.WithRev(r.at.rev))
	if err != nil {
		r.unsure(err)
		return nil
	}
	missing, stale, gone := 0, 0, 0
	for key, mod := range theirs {
		switch mine, ok := r.known[key]; {
		case !ok:
			missing++
		case mine != mod:
			stale++
		}
	}
	for key := range r.known {
		if _, ok := theirs[key]; !ok {
			gone++
		}
	}
	if missing+stale+gone == 0 {
		return nil
	}
	return fmt.Errorf("%w at revision %d: %d keys missing, %d stale, %d deleted in etcd", errDrift, r.at.rev, missing, stale, gone)
}

// unsure notes that a comparison was not possible: a revision that is compacted
// away, or a store that the watch will soon lose too. The next one tells.
func (r *reader) unsure(err error) {
	if !errors.Is(err, rpctypes.ErrCompacted) {
		r.c.cfg.Log.Warn("the configuration could not be compared with etcd", "err", err)
	}
}
