// Package h2 takes HTTP/2 in, over TLS and as h2c with prior knowledge, and
// HTTP/3 over QUIC, and hands each request over as an exchange of package wire.
// The protocols themselves are golang.org/x/net/http2 and quic-go.
//
// It knows no routes, no plugins and no configuration, and accepts no
// connections itself.
package h2

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	"sluice/gateway/wire"
)

// Options bound what clients may do. Zero values stand for the defaults.
type Options struct {
	Streams     uint32        // concurrent requests per connection; 128
	HeaderBytes uint32        // header list of a request, decoded; 32 KiB
	IdleTimeout time.Duration // a connection without requests; 60 s
	BodyTimeout time.Duration // between two reads of a request body; 60 s
	SendTimeout time.Duration // between two writes that a client takes in; 60 s
	// Resets is how many requests a client may cancel on one connection before
	// more than half of all being cancelled ends the connection; 100.
	Resets int

	// BadRequest makes the answer to a request that is refused. x.Req holds what
	// was understood of it. Nil, or a nil answer: no body.
	BadRequest func(x *wire.Exchange, status int) *wire.Response
	// OnError hears what ended a request or connection before its time.
	OnError func(remote net.Addr, err *wire.Error)
}

// Server serves HTTP/2 connections.
type Server struct {
	handler wire.Handler
	opts    Options
	base    *http.Server
	h2      *http2.Server
	streams sync.Pool // *stream
	quiet   *slog.Logger

	mu       sync.Mutex
	conns    map[*conn]struct{}
	quics    []*http3.Server
	stopping bool
	empty    chan struct{} // closed when stopping and the last connection ended
}

// New makes a server that hands its requests to h.
func New(h wire.Handler, o Options) *Server {
	o.Streams = cmp.Or(o.Streams, 128)
	o.HeaderBytes = cmp.Or(o.HeaderBytes, 32<<10)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, time.Minute)
	o.BodyTimeout = cmp.Or(o.BodyTimeout, time.Minute)
	o.SendTimeout = cmp.Or(o.SendTimeout, time.Minute)
	o.Resets = cmp.Or(o.Resets, 100)
	if o.OnError == nil {
		o.OnError = func(net.Addr, *wire.Error) {}
	}
	s := &Server{
		handler: h, opts: o, conns: map[*conn]struct{}{}, empty: make(chan struct{}), quiet: slog.New(slog.DiscardHandler),
		base: &http.Server{MaxHeaderBytes: int(o.HeaderBytes), ErrorLog: log.New(io.Discard, "", 0)},
		h2: &http2.Server{
			MaxConcurrentStreams: o.Streams,
			IdleTimeout:          o.IdleTimeout,
			ReadIdleTimeout:      o.IdleTimeout,
			WriteByteTimeout:     o.SendTimeout,
			// What one stream may send ahead is memory of ours.
			MaxUploadBufferPerStream:     256 << 10,
			MaxUploadBufferPerConnection: 1 << 20,
		},
	}
	s.streams.New = func() any { return newStream(s) }
	// It fails only for TLS settings, of which there are none here.
	_ = http2.ConfigureServer(s.base, s.h2)
	return s
}

// conn is what the requests of one connection have in common.
type conn struct {
	srv           *Server
	addr          net.Addr
	drop          func() // ends the connection
	remote, local netip.AddrPort
	tls           *tls.ConnectionState
	requests      atomic.Int64
	resets        atomic.Int64
}

// ServeConn serves a connection until it ends: plain, with the preface still to
// be read, or TLS after a handshake that chose h2. It closes nc.
func (s *Server) ServeConn(nc net.Conn) {
	defer nc.Close()
	c := &conn{srv: s, addr: nc.RemoteAddr(), remote: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr()),
		drop: func() { _ = nc.Close() }}
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	if !s.add(c) {
		return
	}
	defer s.remove(c)
	s.h2.ServeConn(nc, &http2.ServeConnOpts{BaseConfig: s.base, Handler: c})
}

// ServeTLS is ServeConn for a TLS connection after its handshake.
func (s *Server) ServeTLS(nc *tls.Conn) { s.ServeConn(nc) }

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.stopping && len(s.conns) == 0 {
		close(s.empty)
	}
}

// Conns is the number of connections.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown tells all clients to go away and waits for the requests on the way.
// When ctx ends first, it breaks them off and returns ctx.Err().
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		if len(s.conns) == 0 {
			close(s.empty)
		}
	}
	quics := s.quics
	s.mu.Unlock()
	for _, q := range quics {
		if err := q.Shutdown(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if err := s.base.Shutdown(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.drop()
	}
	s.mu.Unlock()
	<-s.empty
	return ctx.Err()
}

// ServeHTTP is one request of the connection.
func (c *conn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := c.requests.Add(1)
	defer c.count(r, n)
	c.srv.serve(w, r, c)
}

// count notes a request that the client cancelled. Doing so all the time costs
// a client nothing and us a lot.
func (c *conn) count(r *http.Request, n int64) {
	if r.Context().Err() == nil {
		return
	}
	if resets := c.resets.Add(1); resets > int64(c.srv.opts.Resets) && resets > n/2 {
		c.drop()
	}
}

// addrPort reads the address of a connection; the zero value for those that
// are none of TCP or UDP.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
