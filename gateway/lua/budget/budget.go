// Package budget bounds the time that calls of an interpreter compute.
//
// It does not know what is computed.
package budget

import (
	"context"
	"sync"
	"time"
)

// overrun is why a call was cut off.
type overrun struct{}

func (overrun) Error() string { return "time budget exceeded" }

// Budget is the context of a state: done when the call has used up its time.
// One serves all calls of a state, so that a call costs no allocation. The
// interpreter looks at it before each instruction.
type Budget struct {
	timer *time.Timer
	left  time.Duration // when the timer stands
	since time.Time     // when it runs

	mu    sync.Mutex
	done  chan struct{}
	err   error
	after []func() // of coroutines
}

// New makes a Budget that stands.
func New() *Budget {
	b := &Budget{done: make(chan struct{})}
	b.timer = time.AfterFunc(time.Hour, b.expire)
	b.timer.Stop()
	return b
}

func (b *Budget) expire() { b.End(overrun{}) }

// End cuts the call off because of err.
func (b *Budget) End(err error) {
	b.mu.Lock()
	after := b.after
	b.after = nil
	if b.err == nil {
		b.err = err
		close(b.done)
	}
	b.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// Start lets d begin.
func (b *Budget) Start(d time.Duration) {
	b.left, b.since = d, time.Now()
	b.timer.Reset(d)
}

// Pause stops the clock while the call waits for others; Resume goes on.
func (b *Budget) Pause() {
	b.timer.Stop()
	b.left = max(b.left-time.Since(b.since), time.Millisecond)
}

// Resume lets it go on.
func (b *Budget) Resume() {
	b.since = time.Now()
	b.timer.Reset(b.left)
}

// Stop ends a call. It reports whether the state can be used again: it cannot
// when the timer has fired, for then its function may still be running.
func (b *Budget) Stop() bool {
	ok := b.timer.Stop()
	b.mu.Lock()
	idle := b.err == nil && len(b.after) == 0
	b.mu.Unlock()
	if idle {
		return ok
	}
	b.End(context.Canceled) // coroutines end with the call
	if ok {
		b.mu.Lock()
		b.err, b.done = nil, make(chan struct{})
		b.mu.Unlock()
	}
	return ok
}

// Deadline, Done, Err and Value make Budget a context.Context.
func (b *Budget) Deadline() (time.Time, bool) { return time.Time{}, false }
func (b *Budget) Value(any) any               { return nil }
func (b *Budget) Done() <-chan struct{}       { return b.done }
func (b *Budget) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// AfterFunc lets package context bind the contexts of coroutines to b without a
// goroutine for each.
func (b *Budget) AfterFunc(f func()) func() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after = append(b.after, f)
	return func() bool { return false }
}

var _ context.Context = (*Budget)(nil)
