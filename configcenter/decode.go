package configcenter

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// fewChanges is how many changes are decoded without starting goroutines.
const fewChanges = 64

// decodeAll makes the items of all changes, on every processor when there are
// many. It returns when all are done.
func decodeAll(before *Snapshot, changes []Change) []made {
	out := make([]made, len(changes))
	if len(changes) <= fewChanges {
		for i, c := range changes {
			out[i] = makeItem(before, c)
		}
		return out
	}
	var at atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				end := int(at.Add(fewChanges))
				start := end - fewChanges
				if start >= len(changes) {
					return
				}
				for i := start; i < min(end, len(changes)); i++ {
					out[i] = makeItem(before, changes[i])
				}
			}
		})
	}
	wg.Wait()
	return out
}
