package loop

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// The states of a Conn.
const (
	calm    int32 = iota // nothing happened since the last look
	awaited              // to be called when something does
	ready                // something happened
)

// Ready is called on a loop when something happened on a connection. It reads
// until there is nothing more, and must not wait (see Turn.Leave). It returns
// the connection to wait for next, nil for none: whose Ready is called then. No
// two connections that are waited for at once may share what they work on.
type Ready func(t *Turn) *Conn

// Conn is a TCP connection whose readiness a loop watches. All methods that may
// wait (Read, Write, CloseWrite, Read and Write of the RawConn) make it an
// ordinary connection first, which it stays, and leave the loop.
//
// A Conn belongs to whoever is called for it. The deadlines and Control are safe
// for concurrent use with it.
type Conn struct {
	state   atomic.Int32
	expired atomic.Bool // the read deadline has passed
	ready   Ready
	turn    *Turn  // of who works with it
	loop    *Loop  // that watches it; nil before Bind
	out     []byte // to be written before the wait
	then    func() // called when it is
	wrote   int    // of out
	failed  syscall.Errno

	mu     sync.Mutex
	fd     int      // -1: closed, or ordinary
	nc     net.Conn // when ordinary
	rc     syscall.RawConn
	due    time.Time // read deadline; zero: none
	timer  *time.Timer
	local  net.Addr
	remote net.Addr
}

// Take takes the connection out of nc, which is closed.
func Take(nc *net.TCPConn) (*Conn, error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{fd: -1, remote: nc.RemoteAddr(), local: nc.LocalAddr()}
	if e := rc.Control(func(fd uintptr) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			err = os.NewSyscallError("fcntl", errno)
			return
		}
		c.fd = int(n)
	}); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	_ = nc.Close() // what it had is ours
	return c, nil
}

// Serve has l watch the connection from now on, and call f when something
// happens on it. Called once, instead of Bind. After an error f is not called,
// and the connection is to be closed.
func (c *Conn) Serve(l *Loop, f Ready) error {
	c.state.Store(awaited)
	return c.Bind(l, f)
}

// Bind has l watch the connection. f is called when something happens after it
// was returned to be waited for. Called once. After an error f is not called: the
// connection may be closed, or made an ordinary one.
func (c *Conn) Bind(l *Loop, f Ready) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	c.loop, c.ready = l, f
	l.conns.set(c.fd, c)
	if err := l.watch(c.fd, syscall.EPOLLIN|syscall.EPOLLRDHUP); err != nil {
		return err
	}
	if c.expired.Load() {
		l.post(c) // nobody could be told before
	}
	return nil
}

func (c *Conn) unwatch() {
	c.loop.conns.set(c.fd, nil)
	_ = syscall.EpollCtl(c.loop.ep, syscall.EPOLL_CTL_DEL, c.fd, nil) // can only say that it is not there
}

// Loop is what watches the connection.
func (c *Conn) Loop() *Loop { return c.loop }

// Under notes whose turn it is that the connection is used under: when the
// connection has to wait, that loop is left.
func (c *Conn) Under(t *Turn) { c.turn = t }

// Fd is the descriptor, for calls that do not wait; below 0 when the connection
// is closed or ordinary.
func (c *Conn) Fd() int { return c.fd }

// Expired reports whether the read deadline has passed.
func (c *Conn) Expired() bool { return c.expired.Load() }

// Ordinary reports whether the connection has become an ordinary one.
func (c *Conn) Ordinary() bool { return c.fd < 0 }

// Silent reports whether nothing happened on the connection since it was last
// read from, as far as the loop knows.
func (c *Conn) Silent() bool { return c.state.Load() == calm }

// fire notes that something happened and reports whether it is waited for.
func (c *Conn) fire() bool {
	for {
		switch c.state.Load() {
		case awaited:
			if c.state.CompareAndSwap(awaited, calm) {
				return true
			}
		case calm:
			if c.state.CompareAndSwap(calm, ready) {
				return false
			}
		default:
			return false
		}
	}
}

// await begins the wait; false when something has happened already. After true
// the connection may be in use again.
func (c *Conn) await() bool {
	if c.state.CompareAndSwap(calm, awaited) {
		return true
	}
	c.state.Store(calm)
	return false
}

// flush writes what there is to write; false when it could not be written.
func (c *Conn) flush() bool {
	if c.out == nil {
		return true
	}
	out := c.out
	c.out = nil
	if c.wrote, c.failed = write(c.fd, out); c.wrote < len(out) {
		return false
	}
	if c.then != nil {
		c.then()
	}
	return true
}

func write(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// WriteThenWait has b written, along with what others have to write, when the
// connection is returned to be waited for. It must stay as it is until then is
// called (nil: until Ready is). If not all of it can be written, Ready is called
// at once.
func (c *Conn) WriteThenWait(b []byte, then func()) { c.out, c.then = b, then }

// Wrote is what became of WriteThenWait: how many bytes were taken, and why not
// more.
func (c *Conn) Wrote() (int, syscall.Errno) { return c.wrote, c.failed }

// raw is a Conn as a RawConn.
type raw Conn

var _ syscall.RawConn = (*raw)(nil)

// SyscallConn gives access to the descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return (*raw)(c), nil }

// Read calls f whenever there may be something to read, until it returns true.
func (r *raw) Read(f func(fd uintptr) bool) error {
	return (*Conn)(r).ordinary(func(rc syscall.RawConn) error { return rc.Read(f) })
}

// Write calls f whenever there may be room to write, until it returns true.
func (r *raw) Write(f func(fd uintptr) bool) error {
	return (*Conn)(r).ordinary(func(rc syscall.RawConn) error { return rc.Write(f) })
}

// Control calls f once.
func (r *raw) Control(f func(fd uintptr)) error {
	c := (*Conn)(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd >= 0:
		f(uintptr(c.fd))
		return nil
	case c.rc != nil:
		return c.rc.Control(f)
	}
	return net.ErrClosed
}

func (c *Conn) ordinary(f func(syscall.RawConn) error) error {
	if _, err := c.Leave(); err != nil {
		return err
	}
	return f(c.rc)
}

// Leave makes the connection an ordinary one and leaves the loop.
func (c *Conn) Leave() (net.Conn, error) {
	if c.turn != nil {
		c.turn.Leave()
	}
	return c.Part()
}

// Part makes the connection an ordinary one for a goroutine other than this,
// which does not leave its loop.
func (c *Conn) Part() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.convert()
}

func (c *Conn) convert() (net.Conn, error) {
	switch {
	case c.nc != nil:
		return c.nc, nil
	case c.fd < 0:
		return nil, net.ErrClosed
	}
	if c.loop != nil {
		c.unwatch()
	}
	c.turn = nil
	f := os.NewFile(uintptr(c.fd), "")
	c.fd = -1
	nc, err := net.FileConn(f)
	_ = f.Close() // FileConn has its own
	if err != nil {
		return nil, err
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.nc = nc
	if sc, ok := nc.(syscall.Conn); ok {
		c.rc, err = sc.SyscallConn()
	}
	if c.expired.Load() {
		err = errors.Join(err, nc.SetReadDeadline(time.Unix(1, 0)))
	} else {
		err = errors.Join(err, nc.SetReadDeadline(c.due))
	}
	return nc, err
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	nc, err := c.Leave()
	if err != nil {
		return 0, err
	}
	return nc.Read(p)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	nc, err := c.Leave()
	if err != nil {
		return 0, err
	}
	return nc.Write(p)
}

// CloseWrite ends the sending side.
func (c *Conn) CloseWrite() error {
	nc, err := c.Leave()
	if err != nil {
		return err
	}
	if t, ok := nc.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn. While a loop watches the connection only who works
// with it may close it.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	switch {
	case c.nc != nil:
		return c.nc.Close()
	case c.fd < 0:
		return net.ErrClosed
	}
	fd := c.fd
	if c.loop != nil {
		c.loop.conns.set(fd, nil)
	}
	c.fd = -1
	return syscall.Close(fd)
}

// SetReadDeadline implements net.Conn. It wakes a wait going on when t has passed.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.nc != nil:
		return c.nc.SetReadDeadline(t)
	case c.fd < 0:
		return net.ErrClosed
	}
	c.due = t
	left := time.Until(t)
	switch {
	case !t.IsZero() && left <= 0:
		c.expire()
		return nil
	case t.IsZero() && c.timer != nil:
		c.timer.Stop()
	case t.IsZero():
	case c.timer == nil:
		c.timer = time.AfterFunc(left, c.ring)
	default:
		c.timer.Reset(left)
	}
	c.expired.Store(false)
	return nil
}

// ring is the timer's.
func (c *Conn) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 && !c.due.IsZero() && time.Until(c.due) <= 0 {
		c.expire()
	}
}

func (c *Conn) expire() {
	c.expired.Store(true)
	if c.loop != nil {
		c.loop.post(c)
	}
}

// SetWriteDeadline implements net.Conn. It means something to an ordinary
// connection only: no other waits for room.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil {
		return c.nc.SetWriteDeadline(t)
	}
	return nil
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetWriteDeadline(t), c.SetReadDeadline(t))
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }
