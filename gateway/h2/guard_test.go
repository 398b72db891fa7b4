package h2

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int64
		g := &guard{expire: func() { fired.Add(1) }}
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		for range 10 { // each operation is quick, the silence between them is not
			g.start(time.Second)
			pass(900 * time.Millisecond)
			g.stop()
			pass(5 * time.Second)
		}
		if fired.Load() != 0 || g.timedOut() {
			t.Fatalf("fired %d times", fired.Load())
		}
		g.start(time.Second)
		pass(500 * time.Millisecond)
		g.stop()
		g.start(time.Second) // while the timer of the first is still on
		pass(999 * time.Millisecond)
		if fired.Load() != 0 {
			t.Error("the second operation was measured from the first's start")
		}
		pass(2 * time.Millisecond)
		if fired.Load() != 1 || !g.timedOut() {
			t.Errorf("fired %d times", fired.Load())
		}
		g.stop()
		g.reset()
		pass(time.Hour)
		if fired.Load() != 1 || g.timedOut() {
			t.Error("the guard fired between operations")
		}
	})
}
