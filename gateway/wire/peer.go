package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/gateway/lane"
	"sluice/gateway/loop"
)

// Peer is one upstream server as this process talks to it, with the
// connections that are kept to it. Safe for concurrent use.
type Peer struct {
	opts PeerOptions
	h2   *http2Peer // nil for HTTP/1

	// kept has a shelf for each lane, and behind them one for each loop.
	kept []shelf
	// watched says that reap will come.
	watched atomic.Bool
	mu      sync.Mutex // of what follows
	reaper  *time.Timer
	closed  bool
}

// shelf holds kept connections. Each processor has its own and takes from
// others when it is empty: a connection stays where its memory is warm.
type shelf struct {
	mu     sync.Mutex
	idle   []*upConn // the last one was used last
	closed bool
	_      [64]byte // nothing shares its lines
}

// NewPeer returns a Peer without connections.
func NewPeer(o PeerOptions) *Peer {
	p := &Peer{opts: o, kept: make([]shelf, 2*lane.N)}
	if o.HTTP2 {
		p.h2 = newHTTP2Peer(&p.opts)
	}
	return p
}

// Close closes the idle connections; those in use are closed after their exchange.
func (p *Peer) Close() {
	p.mu.Lock()
	p.closed = true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	for i := range p.kept {
		s := &p.kept[i]
		s.mu.Lock()
		idle := s.idle
		s.idle, s.closed = nil, true
		s.mu.Unlock()
		for _, u := range idle {
			u.close()
		}
	}
	if p.h2 != nil {
		p.h2.close()
	}
}

// take returns the kept connection that was used last here, or else elsewhere;
// nil when there is none.
func (p *Peer) take(now int64, l *loop.Loop) *upConn {
	if l != nil {
		return p.takeLooped(now, l)
	}
	here := lane.Here()
	for i := range lane.N {
		s := &p.kept[(here+i)%lane.N]
		for u := s.pop(); u != nil; u = s.pop() {
			if p.opts.IdleTimeout <= 0 || now-u.idleSince <= int64(p.opts.IdleTimeout) {
				return u
			}
			u.close() // and those below are older
		}
	}
	return nil
}

func (p *Peer) takeLooped(now int64, l *loop.Loop) *upConn {
	s := &p.kept[p.looped(l)]
	for u := s.pop(); u != nil; u = s.pop() {
		if p.opts.IdleTimeout <= 0 || now-u.idleSince <= int64(p.opts.IdleTimeout) {
			return u
		}
		u.close()
	}
	return nil
}

// looped is the shelf of a loop.
func (p *Peer) looped(l *loop.Loop) int { return lane.N + l.ID()%lane.N }

// adopt makes a new connection one of l's.
func (u *upConn) adopt(l *loop.Loop) {
	tc, ok := u.nc.(*net.TCPConn)
	if !ok {
		return
	}
	lc, err := loop.Take(tc)
	if err != nil {
		return
	}
	u.lc, u.nc, u.raw = lc, lc, rawConn(lc)
	if lc.Bind(l, u.called) != nil {
		_, _ = lc.Part() // the kernel is out of something: it serves without the loop
	}
}

func (s *shelf) pop() *upConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	u := s.idle[n-1]
	s.idle[n-1] = nil
	s.idle = s.idle[:n-1]
	return u
}

// give keeps a connection that was in use until now for later, if it may be kept.
func (p *Peer) give(u *upConn, now int64) {
	if p.opts.Requests > 0 && u.served >= p.opts.Requests {
		u.close()
		return
	}
	u.idleSince = now
	at := lane.Here()
	if u.looped() {
		at = p.looped(u.lc.Loop())
	}
	if !p.kept[at].push(u, p.opts.Idle) {
		u.close()
		return
	}
	if p.opts.IdleTimeout > 0 && !p.watched.Load() {
		p.watch(p.opts.IdleTimeout)
	}
}

// push is false on a shelf that is closed, or has limit connections.
func (s *shelf) push(u *upConn, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= limit {
		return false
	}
	s.idle = append(s.idle, u)
	return true
}

// watch has reap called after a while.
func (p *Peer) watch(wait time.Duration) {
	if !p.watched.CompareAndSwap(false, true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.reaper = time.AfterFunc(max(wait, time.Millisecond), p.reap)
	}
}

// reap closes the connections that were idle for too long and comes again as
// long as there are others.
func (p *Peer) reap() {
	p.watched.Store(false) // before the look, so that what comes after it is watched
	limit := nano() - int64(p.opts.IdleTimeout)
	oldest := int64(0)
	for i := range p.kept {
		old, first := p.kept[i].cut(limit)
		for _, u := range old {
			u.close()
		}
		if first != 0 && (oldest == 0 || first < oldest) {
			oldest = first
		}
	}
	if oldest != 0 {
		p.watch(time.Duration(oldest - limit))
	}
}

// cut takes off what has been idle since limit or longer, and tells since when
// the first of the others is; 0 when there is none.
func (s *shelf) cut(limit int64) (old []*upConn, first int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.idle) && s.idle[n].idleSince <= limit {
		n++
	}
	old = append(old, s.idle[:n]...)
	kept := copy(s.idle, s.idle[n:])
	clear(s.idle[kept:])
	if s.idle = s.idle[:kept]; kept > 0 {
		first = s.idle[0].idleSince
	}
	return old, first
}

// dial opens a new connection.
func (p *Peer) dial(ctx context.Context, timeout time.Duration) (*upConn, error) {
	if timeout <= 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d := net.Dialer{KeepAlive: -1}
	nc, err := d.DialContext(ctx, "tcp", p.opts.Addr)
	if err != nil {
		return nil, dialError(ctx, p.opts.Addr, Connect, err)
	}
	u := &upConn{peer: p, nc: nc}
	if p.opts.TLS == nil {
		u.raw = rawConn(nc)
		return u, nil
	}
	t := tls.Client(nc, p.opts.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, dialError(ctx, p.opts.Addr, Handshake, err)
	}
	u.nc, u.under = t, rawConn(nc)
	return u, nil
}

func dialError(ctx context.Context, addr string, kind Kind, err error) *Error {
	e := &Error{Side: Upstream, Kind: kind, Retry: Yes, Err: fmt.Errorf("connecting to %s: %w", addr, err)}
	var ne net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Side, e.Kind, e.Retry = Client, Aborted, No
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		e.Kind = Timeout
	}
	return e
}

// upConn is one connection to an upstream server. It belongs to the exchange
// that took it from the pool, except kick.
type upConn struct {
	peer  *Peer
	nc    net.Conn
	raw   syscall.RawConn // nil: ordinary reads and writes
	lc    *loop.Conn      // nil: not of a loop
	under syscall.RawConn // of the TCP connection below TLS
	cb    func(fd uintptr) bool

	idleSince int64
	served    int
	readBy    int64 // read deadline in force, nano; 0 none
	writeBy   int64

	trip trip // the exchange going on
}

// looped reports whether a loop watches the connection.
func (u *upConn) looped() bool { return u.lc != nil && !u.lc.Ordinary() }

// kick makes a pending read look up.
func (u *upConn) kick() { _ = u.nc.SetReadDeadline(time.Unix(1, 0)) }

func (u *upConn) close() { _ = u.nc.Close() }

// fresh reports whether a kept connection is still open and silent.
func (u *upConn) fresh() (ok bool) {
	rc := u.under
	if u.raw != nil {
		rc = u.raw
	}
	if rc == nil {
		return true
	}
	err := rc.Control(func(fd uintptr) { ok = sysIdle(fd) })
	return ok && err == nil
}

func (u *upConn) armRead(now, wait int64) {
	want := now + wait
	if slack(u.readBy, want, wait) {
		return
	}
	u.readBy = want
	_ = u.nc.SetReadDeadline(epoch.Add(time.Duration(want)))
}

func (u *upConn) armWrite(now, wait int64) {
	want := now + wait
	if slack(u.writeBy, want, wait) {
		return
	}
	u.writeBy = want
	_ = u.nc.SetWriteDeadline(epoch.Add(time.Duration(want)))
}
