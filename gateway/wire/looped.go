package wire

import (
	"errors"
	"os"
	"syscall"

	"sluice/gateway/lane"
	"sluice/gateway/loop"
)

// ErrPending is what Do returns for an exchange that a loop serves: the answer is
// on its way. The handler returns, and its Resume is called when it is there.
var ErrPending = errors.New("the answer is not there yet")

// Resumer is a Handler that need not wait: after Do returned ErrPending it
// returns, and goes on in Resume, which first asks x.Answer for what Do would
// have returned (that may be ErrPending again). The engine Loops serves the
// requests of other handlers with a goroutine each.
type Resumer interface {
	Handler
	Resume(x *Exchange)
}

// looped reports whether a loop serves the connection.
func (c *conn) looped() bool { return c != nil && c.turn != nil && !c.lc.Ordinary() }

// resumable reports whether Do may return ErrPending.
func (c *conn) resumable() bool { return c.looped() && c.srv.resumer != nil }

// under notes under whose turn the connection is served now.
func (c *conn) under(t *loop.Turn) {
	c.turn = t
	c.lc.Under(t)
	c.fd = c.lc.Fd()
}

// called is the loop's call when something happened on the client's side.
func (c *conn) called(t *loop.Turn) (next *loop.Conn) {
	c.under(t)
	defer c.ended(&next)
	if c.given != nil {
		c.redeliver()
	}
	if c.lc.Expired() {
		c.woken(os.ErrDeadlineExceeded)
	}
	if c.close || !c.looped() {
		return c.next(leaves)
	}
	if c.readable(uintptr(c.fd)) {
		return c.next(leaves)
	}
	return c.next(waits)
}

// called is the loop's call when something happened on the upstream's side.
func (u *upConn) called(t *loop.Turn) (next *loop.Conn) {
	c := u.trip.x.conn
	c.under(t)
	u.lc.Under(t)
	defer c.ended(&next)
	if !u.look() {
		return u.lc
	}
	c.srv.resumer.Resume(&c.w.x)
	if c.up != nil {
		return c.up.lc
	}
	c.handled()
	step := c.digest()
	if step == reads {
		step = waits
		if c.readable(uintptr(c.fd)) {
			step = leaves
		}
	}
	return c.next(step)
}

// next is what the loop should wait for.
func (c *conn) next(step int) *loop.Conn {
	switch {
	case step == waits && c.up != nil:
		return c.up.lc
	case step == waits:
		return c.lc
	case !c.close:
		c.part()
	}
	return nil
}

// ended is the end of a call of the loop: of the connection's as well when there
// is nothing to wait for.
func (c *conn) ended(next **loop.Conn) {
	if p := recover(); p != nil {
		c.panicked(p)
		*next = nil
	}
	if *next == nil {
		c.end()
	}
}

// part goes on with an ordinary goroutine.
func (c *conn) part() {
	c.deliver()
	nc, err := c.lc.Part()
	if err != nil {
		c.gone(err)
		return
	}
	c.raw = rawConn(nc) // without the way round by c.nc, which others may be using
	c.fd = -1
	c.turn = nil
	c.move = true
}

// leave makes the connection an ordinary one within a request: what comes may
// take long.
func (c *conn) leave() {
	if !c.looped() {
		return
	}
	c.turn.Leave()
	c.deliver()
	_, _ = c.lc.Part() // a failure shows when the connection is used
	c.fd = -1
}

// hand leaves the last bytes of an answer to the loop, which writes them with
// those of others: a receiver that sleeps is woken once for many of them, and
// waking is what costs most in a write. It is false when something comes after
// them that cannot wait.
func (c *conn) hand(b []byte) bool {
	if !c.looped() || c.fd < 0 || c.again || c.close || c.r < c.n || !c.w.body.eof.Load() || c.srv.stopping.Load() {
		return false
	}
	c.given = b
	c.lc.WriteThenWait(b, c.delivered)
	return true
}

// undertaken is the loop's call when all was written.
func (c *conn) undertaken() {
	c.given = nil
	c.rest()
}

// deliver writes at once what the loop was handed.
func (c *conn) deliver() {
	b := c.given
	if b == nil {
		return
	}
	c.given = nil
	c.lc.WriteThenWait(nil, nil)
	_, _ = c.write(b) // a failure closes the connection
}

// redeliver writes what the loop could not.
func (c *conn) redeliver() {
	n, errno := c.lc.Wrote()
	b := c.given[n:]
	c.given = nil
	if errno != 0 && errno != syscall.EAGAIN {
		_ = c.writeError(errno)
		return
	}
	_, _ = c.write(b) // a failure closes the connection
	c.rest()
}

// now is nano, or a recent reading of it that others made do with.
func (c *conn) now() int64 {
	if c != nil && c.turn != nil {
		return c.turn.Now()
	}
	return nano()
}

// lane is where the connection's requests are counted.
func (c *conn) lane() int {
	if c.looped() {
		return c.lc.Loop().ID() % lane.N
	}
	return lane.Here()
}

// launch hands the request to the loop; false when the exchange is over, well or
// with t.err.
func (u *upConn) launch() (pending bool) {
	t := &u.trip
	c := t.x.conn
	if t.check && !sysIdle(uintptr(u.lc.Fd())) {
		t.err = errStale
		return false
	}
	u.lc.Under(c.turn)
	u.armRead(t.start, orMinute(t.out.Read))
	if t.canceled() { // after arming, which may undo a kick
		t.err = errClientGone
		return false
	}
	if len(t.more) > 0 || t.stream {
		t.err = u.slowly()
		return false
	}
	t.handed = true
	u.lc.WriteThenWait(t.req, nil)
	c.up = u
	return true
}

// look goes on with the exchange after an event; false when it has to wait.
func (u *upConn) look() (done bool) {
	t := &u.trip
	if t.handed {
		t.handed = false
		if n, errno := u.lc.Wrote(); u.written(n, errno) {
			if t.err == nil {
				t.err = u.slowly() // the request did not fit into one write
			}
			return true
		}
	}
	if u.lc.Expired() {
		wait := orMinute(t.out.Read)
		u.readBy = 0
		if nano()-t.start >= wait {
			t.err = os.ErrDeadlineExceeded
			return true
		}
		u.armRead(t.start, wait)
	}
	if t.canceled() {
		t.err = errClientGone
		return true
	}
	return u.receive(uintptr(u.lc.Fd()))
}

// Answer is for Resume: it returns what Do would have.
func (x *Exchange) Answer() (Timing, error) {
	u := x.conn.up
	x.conn.up = nil
	p, t := u.peer, &u.trip
	out, resp, start, reused := t.out, t.resp, t.start, t.reused
	tm, err := u.conclude()
	switch {
	case err == nil:
		return tm, nil
	case !reused || !replaceable(err, out):
		return tm, err
	}
	return p.send(x, out, resp, start, err.Err == errStale)
}
