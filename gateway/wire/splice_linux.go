package wire

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"
)

// spliceFrom is the shortest rest of a body worth moving through a pipe
// instead of a buffer, in bytes.
const spliceFrom = 32 << 10

const (
	pipeSize  = 256 << 10
	spliceOps = 1 | 2 // SPLICE_F_MOVE, SPLICE_F_NONBLOCK
)

// pipe is a kernel pipe that is empty between uses.
type pipe struct{ r, w int }

// pipes are kept from one body to the next. The collector closes forgotten ones.
var pipes = sync.Pool{New: func() any {
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return (*pipe)(nil)
	}
	p := &pipe{fds[0], fds[1]}
	_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(p.w), syscall.F_SETPIPE_SZ, pipeSize) // smaller will do too
	runtime.SetFinalizer(p, (*pipe).close)
	return p
}}

func (p *pipe) close() {
	_ = syscall.Close(p.r)
	_ = syscall.Close(p.w)
}

func sysSplice(from, to uintptr, n int64) (int64, syscall.Errno) {
	for {
		m, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, from, 0, to, 0, uintptr(n), spliceOps)
		if e != syscall.EINTR {
			return int64(m), e
		}
	}
}

// splice sends the rest of a body of known length without taking it into
// memory. It reports whether it did.
func (s *sending) splice(u *upBody) (bool, error) {
	c := s.c
	if s.filter != nil || s.chunked || c.raw == nil || u.u.raw == nil || u.chunked || u.until || u.tunnel ||
		u.done || len(u.pre) > 0 || u.left < spliceFrom || s.left != u.left {
		return false, nil
	}
	p, _ := pipes.Get().(*pipe)
	if p == nil {
		return false, nil
	}
	if err := s.flush(); err != nil {
		pipes.Put(p)
		return true, err
	}
	for u.left > 0 {
		n, err := u.u.fill(p, u.left)
		if err == nil {
			u.left -= n
			s.left -= n
			var out int64
			out, err = c.drain(p, n)
			s.sent.Total += out
			s.sent.Body += out
		} else {
			u.err = u.explain(err)
			err = u.err
		}
		if err != nil {
			runtime.SetFinalizer(p, nil)
			p.close() // there may be something in it
			return true, err
		}
	}
	u.done = true
	pipes.Put(p)
	return true, nil
}

// fill moves at most n bytes from the upstream into the empty pipe.
func (u *upConn) fill(p *pipe, n int64) (moved int64, err error) {
	u.trip.x.conn.leave() // see read
	from, wait := nano(), orMinute(u.trip.out.Read)
	for {
		u.armRead(from, wait)
		if u.trip.canceled() {
			return 0, errClientGone
		}
		var errno syscall.Errno
		err := u.raw.Read(func(fd uintptr) bool {
			moved, errno = sysSplice(fd, uintptr(p.w), min(n, pipeSize))
			return errno != syscall.EAGAIN
		})
		switch {
		case err == nil && errno != 0:
			return 0, errno
		case err == nil && moved == 0:
			return 0, io.ErrUnexpectedEOF
		case err == nil:
			return moved, nil
		}
		if from, err = u.late(from, wait, err); err != nil {
			return 0, err
		}
	}
}

// drain moves the n bytes in the pipe to the client. It does not know the
// sending: what it catches in closures is allocated.
func (c *conn) drain(p *pipe, n int64) (sent int64, err error) {
	step := func(fd uintptr) (syscall.Errno, bool) {
		m, errno := sysSplice(uintptr(p.r), fd, n-sent)
		if errno == 0 {
			sent += m
		}
		return errno, errno != syscall.EAGAIN
	}
	for sent < n {
		var errno syscall.Errno
		done := false
		if c.fd >= 0 {
			errno, done = step(uintptr(c.fd))
		}
		if !done {
			c.leave()
			c.armWrite(nano(), int64(c.srv.Timeouts.Send))
			if c.ctx.over.Load() { // after arming, which may undo an abort
				return sent, c.writeError(errForced)
			}
			if err := c.raw.Write(func(fd uintptr) bool { errno, done = step(fd); return done }); err != nil {
				c.writeBy = 0
				return sent, c.writeError(err)
			}
		}
		if errno != 0 {
			return sent, c.writeError(fmt.Errorf("splice: %w", errno))
		}
	}
	return sent, nil
}
