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

// Budget is the context of a state and of its coroutines: done when the call
// has used up its time or memory. One serves all calls of a state, so that a
// call costs no allocation. All but End, Err and the timer's function is for the
// goroutine of the call.
type Budget struct {
	memory uint64        // by which the heap may grow during a call, bytes
	done   chan struct{} // another one after a call that was cut off
	timer  *time.Timer   // runs tick; that it does so late, or for nothing, does no harm

	steps  uint32        // instructions
	next   time.Duration // computing after which the heap is looked at
	heap   uint64        // at the first look of this call, with what others filled since; 0: not yet
	now    uint64        // at the last look
	sample [1]metrics.Sample

	mu      sync.Mutex // tick reads what is below
	err     error
	running bool // a call computes
	limit   time.Duration
	spent   time.Duration // computing before since
	since   time.Time
}

// New makes a Budget. memory is by how many bytes the process's heap may grow
// during a call that computes for long; one that is short has no time to fill it.
func New(memory int) *Budget {
	b := &Budget{memory: uint64(memory), done: make(chan struct{})}
	b.sample[0].Name = "/memory/classes/heap/objects:bytes"
	b.timer = time.AfterFunc(time.Hour, b.tick)
	b.timer.Stop()
	return b
}

// tick sees whether the call has used up its time.
func (b *Budget) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running && b.err == nil {
		b.wait()
	}
}

// computed is the time that the call has computed for.
func (b *Budget) computed() time.Duration { return b.spent + time.Since(b.since) }

// wait sets the timer to what is left, or ends the call when that is nothing.
func (b *Budget) wait() {
	if left := b.limit - b.computed(); left > 0 {
		b.timer.Reset(left)
	} else {
		b.end(ErrTime)
	}
}

// End ends the call under way because of err.
func (b *Budget) End(err error) {
	b.mu.Lock()
	b.end(err)
	b.mu.Unlock()
}

func (b *Budget) end(err error) {
	if b.err == nil {
		b.err = err
		close(b.done)
	}
}

// Start lets a call begin that may compute for d.
func (b *Budget) Start(d time.Duration) {
	b.steps, b.next, b.heap = 0, between, 0
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.limit, b.spent, b.since = true, d, 0, time.Now()
	b.timer.Reset(d)
}

// Pause stops the clock while the call waits for others; Resume goes on.
func (b *Budget) Pause() {
	b.mu.Lock()
	b.timer.Stop()
	b.spent = b.computed()
	b.running = false
	b.mu.Unlock()
	if b.heap > 0 {
		b.now = b.read()
	}
}

// Resume lets the clock go on. What the heap grew by in between is not the
// call's doing.
func (b *Budget) Resume() {
	if b.heap > 0 {
		now := b.read()
		b.heap = max(b.heap+now, b.now+1) - b.now
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.since = true, time.Now()
	if b.err == nil {
		b.wait()
	}
}

// Stop ends a call. It reports whether it ended by itself: the state of one that
// was cut off may hold all that it was cut off for.
func (b *Budget) Stop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	b.running = false
	err := b.err
	if err == nil {
		return true
	}
	b.err, b.done = nil, make(chan struct{})
	return err != ErrTime && err != ErrMemory
}

// Deadline, Err and Value, with Done, make Budget a context.Context.
func (b *Budget) Deadline() (time.Time, bool) { return time.Time{}, false }
func (b *Budget) Value(any) any               { return nil }
func (b *Budget) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Done is asked by the interpreter before each instruction, of the call's first
// function and of coroutines alike. They are counted: now and then it is the
// memory's turn.
func (b *Budget) Done() <-chan struct{} {
	if b.steps++; b.steps%stepsBetween == 0 {
		b.look()
	}
	return b.done
}

const (
	stepsBetween = 512                   // from one look at the clock to the next
	between      = 10 * time.Millisecond // of computing, from one look at the heap to the next
)

// look ends the call when the heap has grown by too much.
func (b *Budget) look() {
	spent := b.computed()
	if spent < b.next {
		return
	}
	b.next = spent + between
	heap := b.read()
	if b.heap == 0 {
		b.heap = heap
	}
	if heap > b.heap && heap-b.heap > b.memory {
		b.End(ErrMemory)
	}
}

// read is the size of the heap in bytes.
func (b *Budget) read() uint64 {
	metrics.Read(b.sample[:])
	return b.sample[0].Value.Uint64()
}

var _ context.Context = (*Budget)(nil)
