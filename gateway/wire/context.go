package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// connContext is the context of a connection: it ends once, when the client is
// gone or the server gives up. It is part of the connection, so that no request
// pays for a context.
type connContext struct {
	over  atomic.Bool
	up    atomic.Pointer[upConn] // what the exchange waits for
	mu    sync.Mutex
	done  chan struct{} // made on first use
	after map[*int]func()
}

var _ context.Context = (*connContext)(nil)

// Deadline is none.
func (c *connContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is nil: a connection carries no values.
func (c *connContext) Value(any) any { return nil }

// Err is context.Canceled after the end.
func (c *connContext) Err() error {
	if c.over.Load() {
		return context.Canceled
	}
	return nil
}

// Done is closed at the end.
func (c *connContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over.Load() {
			close(c.done)
		}
	}
	return c.done
}

// AfterFunc runs f in a goroutine of its own at the end; context uses it to
// derive contexts without a goroutine each.
func (c *connContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Load() {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = map[*int]func(){}
	}
	key := new(int)
	c.after[key] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.after[key]
		delete(c.after, key)
		return ok
	}
}

// cancel ends the context.
func (c *connContext) cancel() {
	c.mu.Lock()
	if c.over.Swap(true) {
		c.mu.Unlock()
		return
	}
	if c.done != nil {
		close(c.done)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for _, f := range after {
		go f()
	}
	if up := c.up.Load(); up != nil {
		up.kick()
	}
}
