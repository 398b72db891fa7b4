package contract

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// patience is how long anything may take before a test gives up.
const patience = time.Minute

// Follower turns what a source sends into snapshots, and checks on the way
// what every source promises.
type Follower struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	snap    *configcenter.Snapshot
	batches int
	full    int
	errs    []error
	moved   chan struct{} // closed at the next batch or error
}

// Follow starts following; it ends with the test or with Stop.
func Follow(t *testing.T, src configcenter.Source) *Follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{t: t, cancel: cancel, done: make(chan struct{}), moved: make(chan struct{})}
	go func() {
		defer close(f.done)
		for b, err := range src.Watch(ctx) {
			f.take(b, err)
		}
	}()
	t.Cleanup(f.Stop)
	return f
}

// Stop ends the watch and waits for it.
func (f *Follower) Stop() {
	f.cancel()
	<-f.done
}

func (f *Follower) take(b configcenter.Batch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		f.errs = append(f.errs, err)
	case f.batches == 0 && !b.Full:
		f.t.Error("the first batch is not full")
	case !b.Full && b.Rev <= f.snap.Rev():
		f.t.Errorf("revision %d comes after %d", b.Rev, f.snap.Rev())
	}
	if err == nil {
		f.batches++
		if b.Full {
			f.full++
		}
		f.snap, _ = f.snap.Next(b)
	}
	close(f.moved)
	f.moved = make(chan struct{})
}

// Await waits until the follower's state fulfils ok.
func (f *Follower) Await(what string, ok func(s *configcenter.Snapshot, full int, errs []error) bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		good, moved, errs := ok(f.snap, f.full, f.errs), f.moved, f.errs
		f.mu.Unlock()
		if good {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			f.t.Fatalf("%s: not seen within %v; errors: %v", what, patience, errs)
		}
	}
}

// AwaitLen waits until there are n routes.
func (f *Follower) AwaitLen(n int) {
	f.t.Helper()
	f.Await(fmt.Sprintf("%d routes", n), func(s *configcenter.Snapshot, full int, _ []error) bool {
		return full > 0 && s.Len(resource.Routes) == n
	})
}

// AwaitRoute waits until the route's name is as given.
func (f *Follower) AwaitRoute(id, name string) {
	f.t.Helper()
	f.Await("route "+id+" "+name, func(s *configcenter.Snapshot, _ int, _ []error) bool {
		item := s.Get(resource.Routes, id)
		return item != nil && item.Value.(*resource.Route).Name == name
	})
}

func (f *Follower) snapshot() *configcenter.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snap
}
