package wire

import (
	"runtime/debug"
	"time"
)

// After collectAfter connections moved to small stacks their old ones are
// collected, at most once in collectEvery: this engine makes so little garbage
// that the runtime might not look for minutes, nor give the memory back.
const (
	collectAfter = 1000
	collectEvery = time.Minute
)

// interval is how often the sweeper looks: often enough for the shortest time-out.
func (s *Server) interval() time.Duration {
	t := &s.Timeouts
	d := min(t.Header, t.Idle, t.HalfClosed, 2*time.Second) / 4
	return min(max(d, 5*time.Millisecond), 500*time.Millisecond)
}

// sweep is the one goroutine that watches the time of all connections, so that
// no request arms a timer. It changes nothing by itself: it wakes the
// connection's own goroutine, which sees the time and acts. It ends with Shutdown.
func (s *Server) sweep(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var due []*conn
	var collected time.Time
	for {
		select {
		case <-s.quit:
			return
		case t := <-tick.C:
			s.date.set(t)
		}
		now := nano()
		due = due[:0]
		s.mu.Lock()
		for c := range s.conns {
			if c.due(now) {
				due = append(due, c)
			}
		}
		s.mu.Unlock()
		for _, c := range due {
			c.look(now)
		}
		clear(due)
		if s.moved.Load() >= collectAfter && time.Since(collected) > collectEvery {
			s.moved.Store(0)
			collected = time.Now()
			debug.FreeOSMemory()
		}
	}
}

// due says whether the sweeper should look at the connection.
func (c *conn) due(now int64) bool {
	t, since := &c.srv.Timeouts, c.since.Load()
	age := time.Duration(now - since)
	switch c.phase.Load() {
	case phaseIdle:
		return age >= t.Idle || c.watched.idle != since && age > min(time.Second, t.Idle/2)
	case phaseHead:
		return age >= t.Header
	case phaseServe:
		return age >= min(time.Second, t.HalfClosed/2)
	}
	return false
}

// look wakes the connection if it is over its time, or finds out whether its
// client is gone. Called by the sweeper only.
func (c *conn) look(now int64) {
	switch c.phase.Load() {
	case phaseIdle, phaseHead:
		c.watched.idle = c.since.Load()
		c.kick()
	case phaseServe:
		switch c.peerState() {
		case peerReset:
			c.ctx.cancel()
		case peerClosed:
			w := &c.watched
			if since := c.since.Load(); w.serving != since {
				w.serving, w.closedAt = since, now
			}
			if time.Duration(now-w.closedAt) >= c.srv.Timeouts.HalfClosed {
				c.ctx.cancel()
			}
		}
	}
}

// peerCondition is what the kernel knows of the other end of a connection.
type peerCondition uint8

const (
	peerOpen   peerCondition = iota
	peerClosed               // it sends no more
	peerReset
)
