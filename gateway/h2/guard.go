package h2

import (
	"sync"
	"time"
)

// guard breaks an operation off that takes too long. Between start and stop
// the clock runs; waiting for others in between costs the client nothing. It is
// cheap to start and stop: its timer is left alone and looks when it fires.
type guard struct {
	// expire breaks the operation off. It is called between start and stop only,
	// never later: what it uses may be gone then.
	expire func()

	mu      sync.Mutex
	timer   *time.Timer
	pending bool      // the timer will fire
	until   time.Time // zero: no operation
	expired bool
}

// start begins an operation that may take d.
func (g *guard) start(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Add(d)
	switch {
	case g.pending:
	case g.timer == nil:
		g.timer = time.AfterFunc(d, g.fire)
	default:
		g.timer.Reset(d)
	}
	g.pending = true
}

// stop ends the operation.
func (g *guard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Time{}
}

// reset readies the guard for another stream.
func (g *guard) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.expired = time.Time{}, false
}

// timedOut reports whether an operation was broken off.
func (g *guard) timedOut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.expired
}

func (g *guard) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending = false
	if g.until.IsZero() {
		return
	}
	if left := time.Until(g.until); left > 0 {
		g.timer.Reset(left)
		g.pending = true
		return
	}
	g.until, g.expired = time.Time{}, true
	g.expire()
}

// past is a deadline that is over.
var past = time.Unix(1, 0)
