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

// digestEvery is how many comparisons are cheap until one looks at every key. A
// key that is stale behind an equal count and an equal highest revision shows
// only then.
const digestEvery = 10

// audit compares what the watch brought with what the store held at the same
// revision: the number of keys and the highest of their revisions, which are
// little to send (for the second, servers before 3.7 read all values, later ones
// only their index); key by key when these differ, and every so often anyway.
func (r *reader) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.cfg.HealthTimeout)
	defer cancel()
	from := r.c.cfg.Prefix + "/"
	if r.audits++; r.audits%digestEvery == 0 {
		return r.compare(ctx, from)
	}
	var count, highest int64
	err := r.c.ask(ctx, r.link, "compare "+from, func(ctx context.Context, kv *clientv3.Client) error {
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
	if count == int64(len(r.known.revs)) && highest == r.known.highest() {
		return nil
	}
	return r.compare(ctx, from)
}

// compare looks at every key, without the values.
func (r *reader) compare(ctx context.Context, from string) error {
	var count, missing, stale int
	var sum uint64
	_, err := r.c.pages(ctx, r.link, from, func(kv *mvccpb.KeyValue) {
		count++
		key := r.known.hash(kv.Key)
		sum += mix(key, kv.ModRevision)
		switch mine, ok := r.known.revs[key]; {
		case !ok:
			missing++
		case mine != kv.ModRevision:
			stale++
		}
	}, clientv3.WithKeysOnly(), clientv3.WithRev(r.at.rev))
	if err != nil {
		r.unsure(err)
		return nil
	}
	if count == len(r.known.revs) && sum == r.known.sum {
		return nil
	}
	gone := len(r.known.revs) - (count - missing)
	return fmt.Errorf("%w at revision %d: %d keys missing, %d stale, %d deleted in etcd", errDrift, r.at.rev, missing, stale, gone)
}

// unsure notes that a comparison was not possible: a revision that is compacted
// away, or a store that the watch will soon lose too. The next one tells.
func (r *reader) unsure(err error) {
	if !errors.Is(err, rpctypes.ErrCompacted) {
		r.c.cfg.Log.Warn("the configuration could not be compared with etcd", "err", err)
	}
}
