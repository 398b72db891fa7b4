package etcd

import (
	"context"
	"maps"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/resource"
)

// What the watch brought is made wrong behind its back, in three ways; the next
// comparison must bring a full batch and count it.
func TestAuditHealsDrift(t *testing.T) {
	for name, spoil := range map[string]func(map[string]int64, string){
		"missing": func(known map[string]int64, key string) { delete(known, key) },
		"stale":   func(known map[string]int64, key string) { known[key]-- },
		"deleted": func(known map[string]int64, key string) { known[key+"x"] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := own(t)
			c.cfg.AuditInterval = 20 * time.Millisecond
			contract.Put(t, c, "1", "one")
			contract.Put(t, c, "2", "two")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			full := 0
			r := &reader{c: c, pause: firstPause}
			r.yield = func(b configcenter.Batch, err error) bool {
				if err != nil {
					t.Error(err)
				}
				if full++; full == 1 {
					spoil(r.known, c.cfg.Prefix+configcenter.Path(resource.Routes, "2"))
				}
				return full < 2
			}
			r.run(ctx)
			if full != 2 || c.Drifts() != 1 || len(r.known) != 2 {
				t.Errorf("%d full batches, %d drifts, known %v", full, c.Drifts(), r.known)
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
	_, known, at, err := c.readAll(t.Context(), c.cfg.Prefix+"/")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{c: c, at: at, known: known}
	if err := r.audit(t.Context()); err != nil {
		t.Error(err)
	}
	r.known = maps.Clone(known)
	r.known["/other"] = 1
	if err := r.audit(t.Context()); err == nil {
		t.Error("a key too many was not seen")
	}
	if !c.Reachable() || c.Cluster() == 0 {
		t.Error("not reachable")
	}
}
