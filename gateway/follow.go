package gateway

import (
	"context"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// Follow is the configuration's walk: it takes what the source sends, makes
// the next snapshot, compiles what changed and swaps the version. A secret with
// a new value is a change, too. It returns when ctx ends or the source does. One
// goroutine runs it, and nobody else publishes versions.
func (g *Gateway) Follow(ctx context.Context, src configcenter.Source) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	batches := make(chan configcenter.Batch)
	beside.Go(func() { g.watch(ctx, src, batches) })
	var news <-chan struct{}
	if k := g.comp.keeper; k != nil {
		beside.Go(func() { k.Run(ctx) })
		news = k.News()
	}
	var snap *configcenter.Snapshot
	for {
		var changes []resource.Ref
		select {
		case batch, ok := <-batches:
			if !ok {
				return
			}
			start := g.o.Now()
			snap, _ = snap.Next(batch)
			g.step(snap, snap.Changes(), start)
			g.applied.Add(int64(len(snap.Changes())))
			continue
		case <-news:
			for _, id := range g.comp.keeper.Changed() {
				changes = append(changes, resource.Ref{Kind: resource.Secrets, ID: id})
			}
		}
		if len(changes) > 0 {
			g.o.Log.Info("secrets have changed, what uses them is built anew", "secrets", len(changes))
			g.step(snap, changes, g.o.Now())
		}
	}
}

// watch passes the source's batches on until it ends.
func (g *Gateway) watch(ctx context.Context, src configcenter.Source, to chan<- configcenter.Batch) {
	defer close(to)
	for batch, err := range src.Watch(ctx) {
		if err != nil {
			g.o.Log.Error("configuration source lost, keeping the last version", "err", err)
			continue
		}
		select {
		case to <- batch:
		case <-ctx.Done():
			return
		}
	}
}

// Applied is how many changes of objects have been brought into force since the
// start: each once, however often the store was read anew.
func (g *Gateway) Applied() int64 { return g.applied.Load() }

// step compiles a version and lets it serve.
func (g *Gateway) step(snap *configcenter.Snapshot, changes []resource.Ref, start time.Time) {
	t, problems := g.comp.compile(g.live.Load(), snap, changes)
	if g.audit.differs.CompareAndSwap(true, false) {
		t.router = g.comp.rebuiltRouter()
	}
	g.publish(t, problems)
	g.auditAfter(t)
	g.report(t, problems, g.o.Now().Sub(start))
}

func (g *Gateway) report(t *table, problems []configcenter.Problem, took time.Duration) {
	for _, p := range problems {
		g.o.Log.Error("failed to check item data", "kind", string(p.Kind), "id", p.ID, "rev", p.Rev, "err", p.Err)
	}
	g.o.Log.Debug("version live", "rev", t.rev, "took", took)
	if g.o.OnVersion != nil {
		g.o.OnVersion(Version{Rev: t.rev, Problems: problems, Took: took})
	}
}
