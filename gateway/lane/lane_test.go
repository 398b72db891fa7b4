package lane

import (
	"sync"
	"testing"
)

func TestCounter(t *testing.T) {
	var c Counter
	if c.Load() != 0 {
		t.Error("a new counter is not zero")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				c.Add(1)
			}
		})
	}
	wg.Wait()
	if n := c.Load(); n != 8000 {
		t.Errorf("%d, want 8000", n)
	}
}

func TestHere(t *testing.T) {
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if i := Here(); i < 0 || i >= N {
				t.Errorf("lane %d of %d", i, N)
			}
		})
	}
	wg.Wait()
}

// TestPlaces: lanes are handed out in turn, and again from the first.
func TestPlaces(t *testing.T) {
	p := newPlaces(3)
	for want := range 6 {
		if i := *p.New().(*int); i != want%3 {
			t.Errorf("lane %d, want %d", i, want%3)
		}
	}
}

func BenchmarkCounter(b *testing.B) {
	var c Counter
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Add(1)
		}
	})
}
