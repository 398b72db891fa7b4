package etcd

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/resource"
)

// What the watch brought is made wrong behind its back, in three ways; the next
// comparison must bring a full batch and count it.
func TestAuditHealsDrift(t *testing.T) {
	put := func(known *ledger, key string, rev int64) {
		known.put(&mvccpb.KeyValue{Key: []byte(key), ModRevision: rev})
	}
	for name, spoil := range map[string]func(known *ledger, older, newer string){
		"missing": func(known *ledger, _, key string) { known.drop([]byte(key)) },
		"stale":   func(known *ledger, _, key string) { put(known, key, 1) },
		"deleted": func(known *ledger, _, key string) { put(known, key+"x", 1) },
		// Neither the count nor the highest revision tells.
		"hidden":  func(known *ledger, key, _ string) { put(known, key, 1) },
		"swapped": func(known *ledger, key, _ string) { known.drop([]byte(key)); put(known, key+"x", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			c := own(t)
			c.cfg.AuditInterval = 20 * time.Millisecond
			contract.Put(t, c, "1", "one")
			contract.Put(t, c, "2", "two")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			full := 0
			r := &reader{c: c, link: c.admin, pause: firstPause}
			r.yield = func(b configcenter.Batch, err error) bool {
				if err != nil {
					t.Error(err)
				}
				if full++; full == 1 {
					spoil(r.known, c.cfg.Prefix+configcenter.Path(resource.Routes, "1"), c.cfg.Prefix+configcenter.Path(resource.Routes, "2"))
				}
				return full < 2
			}
			r.run(ctx)
			if full != 2 || c.Drifts() != 1 || len(r.known.revs) != 2 {
				t.Errorf("%d full batches, %d drifts, known %v", full, c.Drifts(), r.known.revs)
			}
		})
	}
}

// What was written and deleted while the watch ran is no drift.
func TestAuditAgrees(t *testing.T) {
	c := own(t)
	f := contract.Follow(t, c)
	f.Await("connected", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 1 })
	contract.Put(t, c, "1", "one")
	contract.Put(t, c, "2", "two")
	if err := c.Delete(t.Context(), resource.Routes, "2"); err != nil {
		t.Fatal(err)
	}
	f.AwaitRoute("1", "one")
	f.AwaitLen(1)
	_, known, at, err := c.readAll(t.Context(), c.admin, c.cfg.Prefix+"/")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{c: c, link: c.admin, at: at, known: known}
	if err := r.audit(t.Context()); err != nil {
		t.Error(err)
	}
	known.put(&mvccpb.KeyValue{Key: []byte("/other"), ModRevision: 1})
	if err := r.audit(t.Context()); err == nil {
		t.Error("a key too many was not seen")
	}
	if !c.Reachable() || c.Cluster() == 0 {
		t.Error("not reachable")
	}
}
