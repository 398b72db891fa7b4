package counter

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a clock that stands still until it is moved.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.ns.Load()) }
func (c *clock) move(d time.Duration) { c.ns.Add(int64(d)) }
func newClock(d time.Duration) *clock { c := new(clock); c.move(d); return c }
func take(l *Local, key string, q Quota) State {
	s, _ := l.Take(context.Background(), []byte(key), q, 1)
	return s
}

func TestFixed(t *testing.T) {
	c := newClock(time.Hour)
	l := NewLocal(c.now)
	q := Quota{Limit: 2, Window: time.Minute}
	for i, want := range []State{
		{Left: 1, Reset: time.Minute},
		{Left: 0, Reset: 50 * time.Second},
		{Left: -1, Reset: 40 * time.Second, Rejected: true},
		{Left: -2, Reset: 30 * time.Second, Rejected: true},
	} {
		if got := take(l, "a", q); got != want {
			t.Errorf("use %d: %+v, want %+v", i, got, want)
		}
		c.move(10 * time.Second)
	}
	if got := take(l, "b", q); got.Left != 1 {
		t.Errorf("another key: %+v", got)
	}
	c.move(20 * time.Second)
	if got, want := take(l, "a", q), (State{Left: 1, Reset: time.Minute}); got != want {
		t.Errorf("next window: %+v, want %+v", got, want)
	}
}

func TestSliding(t *testing.T) {
	c := newClock(600 * time.Second)
	l := NewLocal(c.now)
	q := Quota{Limit: 10, Window: 60 * time.Second, Sliding: true}
	for i := range 10 {
		if got := take(l, "a", q); got.Rejected || got.Left != int64(9-i) {
			t.Fatalf("use %d: %+v", i, got)
		}
	}
	if got := take(l, "a", q); !got.Rejected || got.Reset != 60*time.Second {
		t.Errorf("eleventh: %+v", got)
	}
	// 15 s into the next window the last one weighs three quarters: 7.5.
	c.move(75 * time.Second)
	for i, left := range []int64{1, 0, -1} {
		if got := take(l, "a", q); got.Rejected || got.Left != left || got.Reset != 45*time.Second {
			t.Errorf("use %d of the next window: %+v, want %d left", i, got, left)
		}
	}
	if got := take(l, "a", q); !got.Rejected || got.Reset != 3*time.Second {
		t.Errorf("fourth of the next window: %+v", got)
	}
	c.move(120 * time.Second)
	if got := take(l, "a", q); got.Rejected || got.Left != 9 {
		t.Errorf("two windows later: %+v", got)
	}
}

// A use that comes late counts in the window that others have begun, and begins
// none of its own.
func TestLate(t *testing.T) {
	c := newClock(600 * time.Second)
	l := NewLocal(c.now)
	for _, sliding := range []bool{false, true} {
		q := Quota{Limit: 3, Window: 10 * time.Second, Sliding: sliding}
		key := "late" + strconv.FormatBool(sliding)
		take(l, key, q)
		for i, before := range []time.Duration{time.Millisecond, 5 * time.Second, late} {
			got := l.TakeAt(c.now().Add(-before), []byte(key), q, 1)
			if got.Rejected != (i == 2) || got.Reset != q.Window || !got.Rejected && got.Left != int64(1-i) {
				t.Errorf("sliding %v, %v late: %+v", sliding, before, got)
			}
		}
	}
}

func TestLocalIsBounded(t *testing.T) {
	c := newClock(time.Hour)
	l := NewLocal(c.now)
	q := Quota{Limit: 2, Window: time.Minute}
	const n = shards*perShard + 10000
	for i := range n {
		take(l, strconv.Itoa(i), q)
	}
	if got := l.len(); got > shards*perShard {
		t.Errorf("%d keys", got)
	}
	// What has ended goes as new keys come.
	c.move(2 * time.Minute)
	for i := range n / 4 {
		take(l, "new"+strconv.Itoa(i), q)
	}
	if got := l.len(); got > n/3 {
		t.Errorf("%d keys after the first have ended", got)
	}
}

func (l *Local) len() (n int) {
	for i := range l.parts {
		n += len(l.parts[i].cells)
	}
	return n
}

func TestLocalConcurrently(t *testing.T) {
	l := NewLocal(time.Now)
	q := Quota{Limit: 1000, Window: time.Hour}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 250 {
				if !take(l, "k", q).Rejected {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != 1000 {
		t.Errorf("%d of 2000 passed, want 1000", n)
	}
}

func BenchmarkLocal(b *testing.B) {
	l := NewLocal(time.Now)
	q := Quota{Limit: 1 << 50, Window: time.Hour}
	key := []byte("/apisix/routes/1:123456789:127.0.0.1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Take(b.Context(), key, q, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
