package wire

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// parked reports whether the exchange may run inside the poller's callback.
func (u *upConn) parked() bool {
	c := u.trip.x.conn
	return u.raw != nil && c != nil && c.srv.Engine != Plain
}

// exchangeParked is exchange inside one call of RawConn.Read: the request is
// written, and the goroutine waits for the answer without a read in vain.
func (u *upConn) exchangeParked() error {
	t := &u.trip
	from, wait := t.start, orMinute(t.out.Read)
	if u.cb == nil {
		u.cb = u.ready
	}
	for {
		u.armRead(from, wait)
		if t.canceled() { // after arming, which may undo a kick
			return errClientGone
		}
		err := u.raw.Read(u.cb)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		u.readBy = 0
		if t.sentAt != 0 {
			from = t.sentAt
		}
		if nano()-from >= wait {
			return err
		}
	}
	if t.err == nil && t.end == 0 {
		return u.slowly() // the request did not fit into one write
	}
	return t.err
}

// ready is the poller's callback.
func (u *upConn) ready(fd uintptr) bool {
	t := &u.trip
	if !t.begun {
		t.begun = true
		return u.begin(fd)
	}
	return u.receive(fd)
}

// receive reads the head of the response; false when it has to wait for more.
func (u *upConn) receive(fd uintptr) (done bool) {
	t := &u.trip
	for {
		if t.n == len(t.buf) {
			t.grow()
		}
		n, errno := sysRead(fd, t.buf[t.n:])
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			t.err = errno
			return true
		case n == 0:
			t.err = io.EOF
			return true
		}
		t.n += n
		if t.err = t.head(); t.err != nil || t.end > 0 {
			return true
		}
		// Not complete: read on until there is nothing, for an end that came
		// along with these bytes announces itself no more.
	}
}

// begin looks at a kept connection and writes the request.
func (u *upConn) begin(fd uintptr) (leave bool) {
	t := &u.trip
	if t.check && !sysIdle(fd) {
		t.err = errStale
		return true
	}
	t.check = false
	t.x.conn.srv.yield()
	n, errno := sysWrite(fd, t.req)
	return u.written(n, errno)
}

// written notes what became of the write of the request.
func (u *upConn) written(n int, errno syscall.Errno) (leave bool) {
	t := &u.trip
	if errno != 0 && errno != syscall.EAGAIN {
		t.err = errno
		return true
	}
	if errno == 0 {
		t.wrote += int64(n)
		t.req = t.req[n:]
	}
	if len(t.req) > 0 || len(t.more) > 0 || t.stream {
		return true
	}
	t.sent, t.sentAt = true, t.start
	return false
}
