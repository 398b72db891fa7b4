package lastgood

import (
	"os"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// keeper writes versions down, not more often than the interval allows: the
// first at once, further ones as one when the interval is over.
type keeper struct {
	s     *Source
	mine  map[resource.Ref]configcenter.Change
	rev   int64
	dirty bool
	held  bool // a version with objects is on disk or in mine

	wake chan struct{} // closed when there is no more to come
	done chan struct{}

	mu      sync.Mutex
	pending []configcenter.Batch
}

func newKeeper(s *Source) *keeper {
	k := &keeper{s: s, wake: make(chan struct{}, 1), done: make(chan struct{}), mine: map[resource.Ref]configcenter.Change{}}
	go k.run()
	return k
}

// take never waits for the disk.
func (k *keeper) take(b configcenter.Batch) {
	k.mu.Lock()
	k.pending = append(k.pending, b)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// close writes what is not written yet.
func (k *keeper) close() {
	close(k.wake)
	<-k.done
}

func (k *keeper) run() {
	defer close(k.done)
	var due <-chan time.Time
	for {
		select {
		case _, more := <-k.wake:
			k.gather()
			if !more {
				k.write()
				return
			}
		case <-due:
			due = nil
		}
		if due == nil && k.dirty {
			k.write()
			due = time.After(k.s.o.Interval)
		}
	}
}

// gather brings in what has come.
func (k *keeper) gather() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.pending {
		apply(k.mine, b)
		k.rev, k.dirty = b.Rev, true
	}
	k.pending = nil
}

// write makes the file anew. A version without any object does not take the
// place of one with objects without leaving that beside it: an emptied store is
// more often a mistake than a wish.
func (k *keeper) write() {
	if !k.dirty {
		return
	}
	if len(k.mine) == 0 {
		k.spare()
	} else {
		k.held = true
	}
	v := Version{Prefix: k.s.o.Prefix, Cluster: k.s.o.Cluster(), Rev: k.rev, Written: time.Now(), Changes: sorted(k.mine)}
	if err := Write(k.s.path, v); err != nil {
		k.s.o.Log.Error("the last good configuration cannot be written", "err", err)
		return // it stays dirty, and is tried again after the interval
	}
	k.dirty = false
	k.s.note(func(st *Status) { st.Written = v.Written })
}

// spare renames a file with objects.
func (k *keeper) spare() {
	if !k.held {
		v, err := Read(k.s.path)
		if err != nil || len(v.Changes) == 0 {
			return
		}
	}
	k.held = false
	to := k.s.path + ".before-empty"
	if err := os.Rename(k.s.path, to); err == nil {
		k.s.o.Log.Warn("the store has no configuration any more; the last one is kept", "file", to)
	}
}
