package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/gateway/loop"
)

const bufSize = 16 << 10

// work is what a connection needs only while it has a request: buffers and the
// exchange. It is pooled, so that idle connections cost little and busy ones
// share warm memory.
type work struct {
	x    Exchange
	body reqBody
	in   []byte // request head, and body as far as it came along
	up   []byte // request to the upstream, then its response
	out  []byte // response to the client
	resp upBody // body of the upstream's response
	f    framing
	head bool // the client asked with HEAD, whatever the handler makes of the method
}

func newWork() *work {
	return &work{in: make([]byte, bufSize), up: make([]byte, bufSize), out: make([]byte, 0, bufSize+4<<10)}
}

// The phases of a connection, for time-outs and counters.
const (
	phaseIdle  int32 = iota // between requests
	phaseHead               // a request has begun
	phaseServe              // the handler has it
)

// conn is one client connection. It belongs to the goroutine of run, or to the
// call of a loop, except phase and since (the sweeper reads them) and ctx.
type conn struct {
	srv   *Server
	nc    net.Conn
	raw   syscall.RawConn       // nil: ordinary reads
	peek  syscall.RawConn       // for peerState; also under TLS
	cb    func(fd uintptr) bool // c.readable, made once
	ctx   connContext
	phase atomic.Int32
	since atomic.Int64 // nano when the phase began

	watched watch // the sweeper's own

	lc        *loop.Conn // nil: never of a loop
	turn      *loop.Turn // of the loop's call going on; nil: an ordinary goroutine serves
	given     []byte     // of w.out: what the loop writes
	delivered func()     // c.undertaken, made once
	up        *upConn    // whose answer is waited for; nil: the client's next request is

	w       *work // nil while idle
	fd      int   // ≥ 0 inside the callback
	r, n    int   // unread bytes of w.in
	headEnd int   // where the head in w.in ends
	scan    headScan

	served    int
	remote    netip.AddrPort
	local     netip.AddrPort
	tls       *tls.ConnectionState
	deadline  int64       // read deadline in force, nano; 0 none
	writeBy   int64       // write deadline in force
	lease     *lease      // another goroutine reads the body of this request
	quitBody  atomic.Bool // the exchange is over: stop reading its body
	again     bool        // there may be more to read, or an end, without another event
	outside   bool        // the next request must be served outside the callback
	parsed    bool        // the head of the next request is parsed already
	close     bool        // no further request
	answered  bool        // the final response head was written
	informed  bool        // 100 was written
	hijacked  bool
	pinned    bool // the caller of ServeConn waits for this goroutine
	move      bool // go on with a new goroutine
	lingering bool // the client may still be sending
	waited    bool // a write of this answer could not be done at once
}

// watch is what the sweeper remembers of a connection.
type watch struct {
	idle     int64 // since, when it looked at the idle connection
	serving  int64 // since, when it saw the client's FIN
	closedAt int64 // nano of that
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, fd: -1}
	c.lc, _ = nc.(*loop.Conn)
	c.remote, c.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	if s.Engine != Plain {
		c.raw = rawConn(nc)
	}
	c.peek = c.raw
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok && c.raw == nil {
		c.peek = rawConn(t.NetConn())
	} else if c.raw == nil {
		c.peek = rawConn(nc)
	}
	if c.lc != nil {
		c.delivered = c.undertaken
	}
	c.since.Store(nano())
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case nil:
		return netip.AddrPort{}
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// run serves the connection until its end, or until it has been idle for a
// moment: then it goes on with a new goroutine, whose stack is small again (a
// stack that has grown is never shrunk to its first size).
func (c *conn) run() {
	defer c.finish()
	if c.cb == nil {
		c.cb = c.readable
	}
	for !c.close && !c.move {
		if c.raw != nil && !c.outside {
			err := c.raw.Read(c.cb)
			c.fd = -1
			if err != nil {
				c.woken(err)
			}
			continue
		}
		if !c.outside {
			c.fill()
		}
		c.outside = false
		for !c.close && c.buffered() && c.advance() {
		}
	}
}

// readable is the poller's callback: it reads and serves what came, and
// returns false to wait for more, true to leave the callback.
func (c *conn) readable(fd uintptr) bool {
	c.fd = int(fd)
	for {
		c.need()
		room := c.room()
		if room == nil {
			return true
		}
		n, errno := sysRead(fd, room)
		switch {
		case errno == syscall.EAGAIN:
			c.rest()
			return false
		case errno != 0:
			c.gone(errno)
			return true
		case n == 0:
			c.gone(io.EOF)
			return true
		}
		c.n += n
		// An end that came along with these bytes announces itself no more: it is
		// looked for where it is likely, and by the sweeper elsewhere.
		c.again = n == len(room) || c.served == 0
		switch c.digest() {
		case waits:
			return false
		case leaves:
			return true
		}
	}
}

// What is next for a connection inside the callback.
const (
	reads  = iota // more
	waits         // for the client, or for c.up
	leaves        // the callback
)

// digest serves what has been read.
func (c *conn) digest() (next int) {
	for c.buffered() && c.advance() {
	}
	switch {
	case c.up != nil:
		return waits
	case c.close, c.outside, c.fd < 0:
		return leaves
	case c.again, c.r < c.n:
		return reads
	}
	if c.given == nil {
		c.rest()
	}
	return waits
}

// fill waits for bytes with an ordinary read.
func (c *conn) fill() {
	c.need()
	room := c.room()
	if room == nil {
		return
	}
	n, err := c.nc.Read(room)
	c.n += n
	if n > 0 || err == nil {
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.woken(err)
		return
	}
	c.gone(err)
}

// buffered says whether there are bytes that advance has not looked at.
func (c *conn) buffered() bool {
	return c.w != nil && (c.parsed || c.r < c.n && c.r+c.scan.pos < c.n)
}

// need gets the buffers.
func (c *conn) need() {
	if c.w == nil {
		c.w = c.srv.work.Get().(*work)
	}
}

// room is where the next bytes of a head go; it moves and grows the buffer.
func (c *conn) room() []byte {
	if c.r > 0 {
		c.n = copy(c.w.in, c.w.in[c.r:c.n])
		c.r = 0
	}
	if c.n == len(c.w.in) {
		bigger := make([]byte, max(2*len(c.w.in), bufSize))
		copy(bigger, c.w.in[:c.n])
		c.w.in = bigger
	}
	return c.w.in[c.n:]
}

// rest gives the buffers back if nothing is in them.
func (c *conn) rest() {
	if c.w != nil && c.r == c.n {
		c.release()
	}
}

func (c *conn) release() {
	w := c.w
	c.w, c.r, c.n = nil, 0, 0
	if w == nil {
		return
	}
	if len(w.in) != bufSize {
		w.in = make([]byte, bufSize)
	}
	if len(w.up) != bufSize {
		w.up = make([]byte, bufSize)
	}
	if cap(w.out) > 4*bufSize {
		w.out = make([]byte, 0, bufSize+4<<10)
	}
	c.srv.work.Put(w)
}

// enter moves to another phase.
func (c *conn) enter(phase int32) { c.enterAt(phase, nano()) }

// enterAt is enter for those who know the time.
func (c *conn) enterAt(phase int32, now int64) {
	c.since.Store(now)
	c.phase.Store(phase)
}

// woken handles a read that ended with a time-out: the sweeper's, a
// shutdown's, or a stale one.
func (c *conn) woken(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone(err)
		return
	}
	c.deadline = 0
	_ = c.nc.SetReadDeadline(time.Time{})
	t, age := &c.srv.Timeouts, time.Duration(nano()-c.since.Load())
	phase := c.phase.Load()
	switch {
	case c.ctx.over.Load():
		c.gone(errForced)
	case phase == phaseIdle && (age >= t.Idle || c.srv.stopping.Load()):
		c.close = true
	case phase == phaseIdle:
		c.move = c.raw != nil && !c.pinned && c.w == nil && !c.looped()
	case phase == phaseHead && age >= t.Header:
		c.report(&Error{Side: Client, Kind: Timeout, Err: fmt.Errorf("reading the request header: %w", os.ErrDeadlineExceeded)})
		c.close = true
	}
}

var errForced = errors.New("server stopped")

// gone ends the connection after its client did.
func (c *conn) gone(err error) {
	c.close = true
	if c.phase.Load() != phaseIdle {
		c.report(&Error{Side: Client, Kind: Closed, Err: fmt.Errorf("reading the request: %w", err)})
	}
}

func (c *conn) report(e *Error) {
	if c.srv.OnError != nil {
		c.srv.OnError(c.nc.RemoteAddr(), e)
	}
}

// kick wakes the connection's goroutine from a read.
func (c *conn) kick() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// abort ends the connection from outside.
func (c *conn) abort() {
	c.ctx.cancel()
	_ = c.nc.SetDeadline(time.Unix(1, 0))
}

// peerState asks the kernel for the client's end.
func (c *conn) peerState() (p peerCondition) {
	if c.peek != nil {
		_ = c.peek.Control(func(fd uintptr) { p = sysPeer(fd) })
	}
	return p
}
