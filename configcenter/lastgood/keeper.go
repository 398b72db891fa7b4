package lastgood

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// share is the part of the time that may go into writing: a large file is
// written less often.
const share = 20

// keeper writes versions down, not more often than the interval allows: the
// first at once, further ones as one when the interval is over. Between two
// writes it holds only what changed: the file itself has the rest.
type keeper struct {
	s       *Source
	full    bool // changes is everything; else what changed since the file was written
	changes map[resource.Ref]configcenter.Change
	rev     int64
	dirty   bool

	wake chan struct{} // closed when there is no more to come
	done chan struct{}

	mu      sync.Mutex
	pending []configcenter.Batch
}

func newKeeper(s *Source) *keeper {
	k := &keeper{s: s, wake: make(chan struct{}, 1), done: make(chan struct{}), changes: map[resource.Ref]configcenter.Change{}}
	go k.run()
	return k
}

// mostPending is how many batches wait for a slow disk one by one; more become
// one, which does not grow by what changes again and again.
const mostPending = 64

// take never waits for the disk.
func (k *keeper) take(b configcenter.Batch) {
	k.mu.Lock()
	if k.pending = append(k.pending, b); len(k.pending) > mostPending {
		k.pending = []configcenter.Batch{configcenter.Coalesce(k.pending...)}
	}
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
	k.s.tidy()
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
			start := time.Now()
			k.write()
			due = time.After(max(k.s.o.Interval, share*time.Since(start)))
		}
	}
}

// gather brings in what has come.
func (k *keeper) gather() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.pending {
		if b.Full {
			k.full = true
			k.changes = make(map[resource.Ref]configcenter.Change, len(b.Changes))
		}
		for _, c := range b.Changes {
			k.changes[resource.Ref{Kind: c.Kind, ID: c.ID}] = c
		}
		k.rev, k.dirty = b.Rev, true
	}
	k.pending = nil
}

// write makes the file anew: of everything, or of the file as it is and what
// changed since. A file that is gone or damaged meanwhile cannot be continued:
// then everything is asked for again.
func (k *keeper) write() {
	if !k.dirty {
		return
	}
	v := Version{Prefix: k.s.o.Prefix, Cluster: k.s.o.Cluster(), Rev: k.rev, Written: time.Now()}
	e, err := create(k.s.path, v)
	if err == nil {
		err = k.merge(e)
	}
	if err != nil {
		k.s.o.Log.Error("the last good configuration cannot be written", "err", err)
		return // it stays dirty, and is tried again after the interval
	}
	k.dirty, k.full = false, false
	k.changes = map[resource.Ref]configcenter.Change{} // a map does not shrink
	k.s.note(func(st *Status) { st.Written = v.Written })
}

// merge fills the new file and puts it in place.
func (k *keeper) merge(e *encoder) error {
	changes := sorted(k.changes)
	before := func(c configcenter.Change) { // the changes up to c are next in order
		for len(changes) > 0 && compare(changes[0], c) <= 0 {
			if changes[0].Value != nil {
				e.put(changes[0])
			}
			changes = changes[1:]
		}
	}
	if !k.full {
		_, err := readEach(k.s.path, func(c configcenter.Change) {
			before(c)
			if _, changed := k.changes[resource.Ref{Kind: c.Kind, ID: c.ID}]; !changed {
				e.put(c)
			}
		})
		if err != nil {
			e.drop()
			k.s.restart()
			return err
		}
	}
	for _, c := range changes {
		if c.Value != nil {
			e.put(c)
		}
	}
	if e.count == 0 {
		k.spare()
	}
	return e.commit()
}

// spare renames a file with objects: one without any does not take its place
// without leaving it beside, since an emptied store is more often a mistake
// than a wish.
func (k *keeper) spare() {
	objects := 0
	if _, err := readEach(k.s.path, func(configcenter.Change) { objects++ }); err != nil || objects == 0 {
		return
	}
	to := k.s.path + ".before-empty"
	if err := os.Rename(k.s.path, to); err == nil {
		k.s.o.Log.Warn("the store has no configuration any more; the last one is kept", "file", to)
	}
}

// sorted are the changes in the order of the file.
func sorted(changes map[resource.Ref]configcenter.Change) []configcenter.Change {
	out := make([]configcenter.Change, 0, len(changes))
	for _, c := range changes {
		out = append(out, c)
	}
	slices.SortFunc(out, compare)
	return out
}

func compare(a, b configcenter.Change) int {
	if c := strings.Compare(string(a.Kind), string(b.Kind)); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}
