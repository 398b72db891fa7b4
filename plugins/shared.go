package plugins

import "sync"

// Shared holds state that outlives versions: counters, connection pools,
// batchers. A value lives as long as somebody has not released it. The zero
// value is ready; safe for concurrent use.
type Shared struct {
	mu    sync.Mutex
	items map[string]*shared
}

type shared struct {
	v    any
	refs int
	stop func()
}

// Share returns the value at key, made by mk on first use, and the function
// that gives it back; that may be called more than once. mk keeps everybody else
// waiting: it must not wait for anything itself, nor share. stop (may be nil) runs
// when the last user is gone; somebody may make a new value at the same time. Two
// users of one key must agree on T.
func Share[T any](s *Shared, key string, mk func() T, stop func(T)) (v T, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[key]
	if it == nil {
		v := mk()
		it = &shared{v: v}
		if stop != nil {
			it.stop = func() { stop(v) }
		}
		if s.items == nil {
			s.items = map[string]*shared{}
		}
		s.items[key] = it
	}
	it.refs++
	return it.v.(T), sync.OnceFunc(func() { s.release(key, it) })
}

func (s *Shared) release(key string, it *shared) {
	s.mu.Lock()
	it.refs--
	last := it.refs == 0 && s.items[key] == it
	if last {
		delete(s.items, key)
	}
	s.mu.Unlock()
	if last && it.stop != nil {
		it.stop()
	}
}

// Close stops all values, at the end of the process: what they still hold is
// delivered then. Nobody may use them any more; releasing them does nothing.
func (s *Shared) Close() {
	s.mu.Lock()
	items := s.items
	s.items = nil
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, it := range items {
		if it.stop != nil {
			wg.Go(it.stop)
		}
	}
	wg.Wait()
}

// Len is the number of values alive, for leak tests.
func (s *Shared) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}
