package keyed

import (
	"strconv"
	"testing"
)

func TestMap(t *testing.T) {
	m := New[int]()
	add := func(key string, now, end int64) (n int) {
		h := m.Hold([]byte(key), now)
		*h.V++
		n = *h.V
		h.Done(end)
		return n
	}
	for i, c := range []struct {
		key      string
		now, end int64
		want     int
	}{
		{"a", 0, 10, 1}, {"a", 9, 20, 2}, {"b", 9, 20, 1}, {"a", 20, 30, 1}, {"a", 21, 21, 2}, {"a", 21, Never, 1},
	} {
		if got := add(c.key, c.now, c.end); got != c.want {
			t.Errorf("step %d: %d, want %d", i, got, c.want)
		}
	}
	if got := m.Get([]byte("a"), 22); got != 1 {
		t.Errorf("a is %d", got)
	}
	if got := m.Get([]byte("b"), 22); got != 0 {
		t.Errorf("b is %d after its end", got)
	}
	for i := range shards*perShard + 10000 {
		add("k"+strconv.Itoa(i), 30, Never)
	}
	if n := m.Len(); n > shards*perShard {
		t.Errorf("%d values", n)
	}
}

func BenchmarkHold(b *testing.B) {
	m := New[int]()
	key := []byte("key")
	b.ReportAllocs()
	for b.Loop() {
		h := m.Hold(key, 1)
		*h.V++
		h.Done(Never)
	}
}
