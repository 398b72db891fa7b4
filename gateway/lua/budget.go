package lua

import (
	"context"
	"sync"
	"time"
)

// errBudget is why a call was cut off.
type errBudget struct{}

func (errBudget) Error() string { return "time budget exceeded" }

// budget is the context of a state: done when the call has used up its time.
// One serves all calls of a state, so that a call costs no allocation. The
// interpreter looks at it before each instruction.
type budget struct {
	timer *time.Timer
	left  time.Duration // when the timer stands
	since time.Time     // when it runs

	mu    sync.Mutex
	done  chan struct{}
	err   error
	after []func() // of coroutines
}

func newBudget() *budget {
	b := &budget{done: make(chan struct{})}
	b.timer = time.AfterFunc(time.Hour, b.expire)
	b.timer.Stop()
	return b
}

func (b *budget) expire() { b.end(errBudget{}) }

func (b *budget) end(err error) {
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

// start lets d begin.
func (b *budget) start(d time.Duration) {
	b.left, b.since = d, time.Now()
	b.timer.Reset(d)
}

// pause stops the clock while the call waits for others; resume goes on.
func (b *budget) pause() {
	b.timer.Stop()
	b.left = max(b.left-time.Since(b.since), time.Millisecond)
}

func (b *budget) resume() {
	b.since = time.Now()
	b.timer.Reset(b.left)
}

// stop ends a call. It reports whether the state can be used again: it cannot
// when the timer has fired, for then its function may still be running.
func (b *budget) stop() bool {
	ok := b.timer.Stop()
	b.mu.Lock()
	idle := b.err == nil && len(b.after) == 0
	b.mu.Unlock()
	if idle {
		return ok
	}
	b.end(context.Canceled) // coroutines end with the call
	if ok {
		b.mu.Lock()
		b.err, b.done = nil, make(chan struct{})
		b.mu.Unlock()
	}
	return ok
}

// Deadline, Done, Err and Value make budget a context.Context.
func (b *budget) Deadline() (time.Time, bool) { return time.Time{}, false }
func (b *budget) Value(any) any               { return nil }
func (b *budget) Done() <-chan struct{}       { return b.done }
func (b *budget) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// AfterFunc lets package context bind the contexts of coroutines to b without a
// goroutine for each.
func (b *budget) AfterFunc(f func()) func() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after = append(b.after, f)
	return func() bool { return false }
}

var _ context.Context = (*budget)(nil)
