package gateway

import (
	"context"
	"iter"
	"time"

	"sluice/configcenter"
)

// Follow is the configuration's walk: it takes what the source sends, makes
// the next snapshot, compiles what changed and swaps the version. It returns
// when ctx ends. One goroutine runs it, and nobody else publishes versions.
func (g *Gateway) Follow(ctx context.Context, src configcenter.Source) {
	batches, stop := iter.Pull2(src.Watch(ctx))
	defer stop()
	var snap *configcenter.Snapshot
	for {
		batch, err, ok := batches()
		if !ok {
			return
		}
		if err != nil {
			g.o.Log.Error("configuration source lost, keeping the last version", "err", err)
			continue
		}
		start := g.o.Now()
		snap, _ = snap.Next(batch)
		t, problems := g.comp.compile(g.live.Load(), snap)
		if g.audit.differs.CompareAndSwap(true, false) {
			t.router = g.comp.rebuiltRouter()
		}
		g.publish(t, problems)
		g.applied.Add(int64(len(snap.Changes())))
		g.auditAfter(t)
		g.report(t, problems, g.o.Now().Sub(start))
	}
}

// Applied is how many changes of objects have been brought into force since the
// start: each once, however often the store was read anew.
func (g *Gateway) Applied() int64 { return g.applied.Load() }

func (g *Gateway) report(t *table, problems []configcenter.Problem, took time.Duration) {
	for _, p := range problems {
		g.o.Log.Error("failed to check item data", "kind", string(p.Kind), "id", p.ID, "rev", p.Rev, "err", p.Err)
	}
	g.o.Log.Debug("version live", "rev", t.rev, "took", took)
	if g.o.OnVersion != nil {
		g.o.OnVersion(Version{Rev: t.rev, Problems: problems, Took: took})
	}
}
