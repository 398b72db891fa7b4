package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Peer is one upstream server as this process talks to it, with the
// connections that are kept to it. Safe for concurrent use.
type Peer struct {
	opts PeerOptions
	h2   *http2Peer // nil for HTTP/1

	mu     sync.Mutex
	idle   []*upConn // the last one was used last
	reaper *time.Timer
	closed bool
}

// NewPeer returns a Peer without connections.
func NewPeer(o PeerOptions) *Peer {
	p := &Peer{opts: o}
	if o.HTTP2 {
		p.h2 = newHTTP2Peer(&p.opts)
	}
	return p
}

// Close closes the idle connections; those in use are closed after their exchange.
func (p *Peer) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	for _, u := range idle {
		u.close()
	}
	if p.h2 != nil {
		p.h2.close()
	}
}

// take returns the kept connection that was used last, or nil.
func (p *Peer) take(now int64) *upConn {
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		return nil
	}
	u := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	if p.opts.IdleTimeout > 0 && now-u.idleSince > int64(p.opts.IdleTimeout) {
		u.close()
		p.reap() // those below are older
		return nil
	}
	return u
}

// give keeps a connection that was in use until now for later, if it may be kept.
func (p *Peer) give(u *upConn, now int64) {
	if p.opts.Requests > 0 && u.served >= p.opts.Requests {
		u.close()
		return
	}
	u.idleSince = now
	p.mu.Lock()
	if p.closed || len(p.idle) >= p.opts.Idle {
		p.mu.Unlock()
		u.close()
		return
	}
	p.idle = append(p.idle, u)
	if p.reaper == nil && p.opts.IdleTimeout > 0 {
		p.reaper = time.AfterFunc(p.opts.IdleTimeout, p.reap)
	}
	p.mu.Unlock()
}

// reap closes the connections that were idle for too long and comes again as
// long as there are others.
func (p *Peer) reap() {
	var old []*upConn
	p.mu.Lock()
	limit := nano() - int64(p.opts.IdleTimeout)
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince <= limit {
		n++
	}
	old = append(old, p.idle[:n]...)
	kept := copy(p.idle, p.idle[n:])
	clear(p.idle[kept:])
	p.idle = p.idle[:kept]
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
	if kept > 0 && !p.closed {
		wait := time.Duration(p.idle[0].idleSince - limit)
		p.reaper = time.AfterFunc(max(wait, time.Millisecond), p.reap)
	}
	p.mu.Unlock()
	for _, u := range old {
		u.close()
	}
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
	under syscall.RawConn // of the TCP connection below TLS
	cb    func(fd uintptr) bool

	idleSince int64
	served    int
	readBy    int64 // read deadline in force, nano; 0 none
	writeBy   int64

	trip trip // the exchange going on
}

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
