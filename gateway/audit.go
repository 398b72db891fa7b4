package gateway

import (
	"slices"
	"sync/atomic"
	"time"

	"sluice/router"
)

// auditEvery is how often, at most, a version's router is compared with one
// built anew from the same routes.
const auditEvery = 10 * time.Minute

// audit is the safety net under the incremental router: it rebuilds a version's
// router from nothing, off both walks, and compares checksums. A difference
// should never be; it is counted, logged, and mended by the next version, which
// is then built from nothing too.
type audit struct {
	last    time.Time // of the start of one; belongs to Follow
	running atomic.Bool
	differs atomic.Bool  // the next version must not build on this one's router
	found   atomic.Int64 // differences since the start
}

// Drifts is how often the incremental router was found to differ from a full rebuild.
func (g *Gateway) Drifts() int64 { return g.audit.found.Load() }

// auditAfter starts an audit of t when one is due.
func (g *Gateway) auditAfter(t *table) {
	a := &g.audit
	now := g.o.Now()
	if a.last.IsZero() {
		a.last = now // the first version was built from nothing
	}
	if now.Sub(a.last) < auditEvery || !a.running.CompareAndSwap(false, true) {
		return
	}
	a.last = now
	go func() { // ends with the comparison
		defer a.running.Store(false)
		if !sameRouter(g.o.Mode, t.router) {
			a.found.Add(1)
			a.differs.Store(true)
			g.o.Log.Error("router differs from a full rebuild, the next version is built anew", "rev", t.rev)
		}
	}()
}

// sameRouter reports whether a router built anew from r's routes equals r.
func sameRouter(mode router.Mode, r *router.Router[*route]) bool {
	rebuilt, _ := router.New(mode, slices.Collect(r.All()))
	leadsTo := func(to *route) uint64 { return uint64(to.serial) }
	return r.Check() == nil && rebuilt.Digest(leadsTo) == r.Digest(leadsTo)
}
