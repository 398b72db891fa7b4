// Package budget bounds what one call of Lua may take: time, and memory as far
// as the process's heap shows it. It knows no interpreter: it is the context
// that one looks at before each instruction.
package budget

import (
	"context"
	"errors"
	"runtime/metrics"
	"sync"
	"time"
)

// Why a call was cut off.
var (
	ErrTime   = errors.New("time budget exceeded")
	ErrMemory = errors.New("memory budget exceeded")
)

// Budget is the context of a state: done when the call has used up its time.
// One serves all calls of a state, so that a call costs no allocation. The
// interpreter looks at it before each instruction.
type Budget struct {
	memory uint64 // by which the heap may grow during a call, bytes
	heap   uint64 // when it was looked at first in this call; 0: not yet
	steps  uint32 // instructions, by the call's goroutine only
	sample [1]metrics.Sample

	timer *time.Timer
	left  time.Duration // when the timer stands
	since time.Time     // when it runs

	mu    sync.Mutex
	done  chan struct{}
	err   error
	after []func() // of coroutines
}

// New makes a Budget. memory is by how many bytes the process's heap may grow
// during a call that computes for long; one that is short has no time to fill it.
func New(memory int) *Budget {
	b := &Budget{memory: uint64(memory), done: make(chan struct{})}
	b.sample[0].Name = "/memory/classes/heap/objects:bytes"
	b.timer = time.AfterFunc(time.Hour, b.expire)
	b.timer.Stop()
	return b
}

func (b *Budget) expire() { b.End(ErrTime) }

// End ends the call under way because of err.
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
	b.left, b.since, b.heap, b.steps = d, time.Now(), 0, 0
	b.timer.Reset(d)
}

// Pause stops the clock while the call waits for others; Resume goes on.
func (b *Budget) Pause() {
	b.timer.Stop()
	b.left = max(b.left-time.Since(b.since), time.Millisecond)
}

// Resume lets the clock go on.
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

// Deadline, Err and Value, with Done, make Budget a context.Context.
func (b *Budget) Deadline() (time.Time, bool) { return time.Time{}, false }
func (b *Budget) Value(any) any               { return nil }
func (b *Budget) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Done is asked by the interpreter before each instruction, which are counted:
// now and then it is the memory's turn.
func (b *Budget) Done() <-chan struct{} {
	if b.steps++; b.steps%stepsBetween == 0 {
		b.look()
	}
	return b.done
}

// stepsBetween are about 10 ms of computing.
const stepsBetween = 1 << 18

func (b *Budget) look() {
	metrics.Read(b.sample[:])
	heap := b.sample[0].Value.Uint64()
	if b.heap == 0 {
		b.heap = heap
	}
	if heap > b.heap && heap-b.heap > b.memory {
		b.End(ErrMemory)
	}
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
