package budget

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(1 << 40)
		b.Start(time.Second)
		pass(600 * time.Millisecond)
		b.Pause()
		pass(time.Hour)
		b.Resume()
		pass(399 * time.Millisecond)
		if b.Err() != nil {
			t.Errorf("cut off after 999 ms: %v", b.Err())
		}
		pass(time.Millisecond)
		if <-b.Done(); b.Err() != ErrTime {
			t.Errorf("after 1 s: %v", b.Err())
		}
		if b.Stop() || b.Err() != nil {
			t.Error("a call that was cut off is not told, or not over")
		}
		b.Start(time.Second) // the next one has all its time
		pass(999 * time.Millisecond)
		if b.Err() != nil || !b.Stop() {
			t.Error("cut off before its time")
		}
		pass(time.Hour)
		if b.Err() != nil {
			t.Error("the clock goes on between calls")
		}
	})
}

// TestPauses: short waits do not give time.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(1 << 40)
		b.Start(10 * time.Millisecond)
		for n := 0; b.Err() == nil; n++ {
			if n > 100 {
				t.Fatal("the time never ends")
			}
			pass(100 * time.Microsecond)
			b.Pause()
			b.Resume()
		}
		b.Stop()
	})
}

// TestMemory: the heap is looked at while the call computes, however often it
// waits, and what grows while it waits is not its doing.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime.GC() // what others left must not go away in between
		var kept [][]byte
		grow := func() { kept = append(kept, make([]byte, 48<<20)) }
		b := New(32 << 20)
		compute := func(d time.Duration) {
			pass(d)
			for range stepsBetween {
				b.Done()
			}
		}
		b.Start(time.Hour)
		compute(between)
		b.Pause()
		grow()
		b.Resume()
		compute(between)
		if b.Err() != nil {
			t.Errorf("for what others did: %v", b.Err())
		}
		grow()
		for range 10 {
			b.Pause()
			b.Resume()
			compute(between / 9)
		}
		if b.Err() != ErrMemory {
			t.Errorf("after 48 MiB: %v", b.Err())
		}
		if b.Stop() {
			t.Error("the state may go on with what it holds")
		}
		runtime.KeepAlive(kept)
	})
}
