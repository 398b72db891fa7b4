package wire

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sluice/gateway/lane"
	"sluice/gateway/loop"
)

// Limits bound what a client may send. Zero values mean the defaults.
type Limits struct {
	HeaderBytes int // whole request head; 32 KiB
	FieldLine   int // one field line; 8 KiB
	RequestLine int // 8 KiB
	Fields      int // number of fields; 256
}

// Timeouts bound how long a client may take. Zero values mean the defaults.
type Timeouts struct {
	Header time.Duration // from the first byte of a request to the end of its head; 60 s
	Body   time.Duration // between two reads of a body; 60 s
	Send   time.Duration // between two writes of a response; 60 s
	Idle   time.Duration // a kept connection without a request; 60 s
	Linger time.Duration // reading on after a response that came before the request's end; 5 s
	// HalfClosed is how long a client that closed its sending side is still
	// waited for: it may want its answer, or be gone; 5 s. A reset ends at once.
	HalfClosed time.Duration
}

// The engines of a Server.
const (
	Loops  = "loops"  // one loop per processor calls the connections (gateway/loop)
	Parked = "parked" // one goroutine per connection, serving inside the poller's callback
	Plain  = "plain"  // ordinary reads and writes
)

// Server accepts HTTP/1 connections and serves their requests. The fields must
// not be changed after the first call of Serve.
type Server struct {
	Handler  Handler
	Limits   Limits
	Timeouts Timeouts
	// Requests is how many requests one connection may make; 0: 1000, below 0: no limit.
	Requests int
	Engine   string // Loops (default), Parked or Plain
	// BadRequest makes the answer to a request that the engine refuses. x.Req
	// holds what was understood of it. Nil: a short page.
	BadRequest func(x *Exchange, status int) *Response
	// OnError hears what ended a connection before its time.
	OnError func(remote net.Addr, err *Error)
	// H2C takes over connections that begin with the preface of HTTP/2; nil
	// refuses them. It returns when the connection is done.
	H2C func(net.Conn)

	once      sync.Once
	head      headLimits
	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	empty     chan struct{} // closed when stopping and the last connection ended
	quit      chan struct{} // ends the sweeper
	stopping  atomic.Bool
	date      dateCache
	work      sync.Pool
	loops     *loop.Group // nil: every connection has its own goroutine
	resumer   Resumer     // the handler, if it is one
	alone     bool        // one processor serves everything

	accepted, handled atomic.Int64
	requests          lane.Counter
	moved             atomic.Int64 // to new goroutines since the last collection
}

// Stats counts connections as nginx's stub_status does.
type Stats struct {
	Accepted, Handled, Requests       int64 // since the start
	Active, Reading, Writing, Waiting int64 // now
}

// yield comes before a write. On one processor it lets the other requests that
// are ready get as far, so that the writes follow each other: a receiver that
// sleeps is woken once for many of them rather than for each, and waking is what
// costs most in a write. On several processors the queue that this goes through
// is shared, and costs more than it saves.
func (s *Server) yield() {
	if s.alone {
		runtime.Gosched()
	}
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (s *Server) setup() {
	s.once.Do(func() {
		l, t := &s.Limits, &s.Timeouts
		orDefault(&l.HeaderBytes, 32<<10)
		orDefault(&l.FieldLine, 8<<10)
		orDefault(&l.RequestLine, 8<<10)
		orDefault(&l.Fields, 256)
		s.head = headLimits{first: l.RequestLine, line: l.FieldLine, total: l.HeaderBytes, fields: l.Fields}
		orDefault(&t.Header, time.Minute)
		orDefault(&t.Body, time.Minute)
		orDefault(&t.Send, time.Minute)
		orDefault(&t.Idle, time.Minute)
		orDefault(&t.Linger, 5*time.Second)
		orDefault(&t.HalfClosed, 5*time.Second)
		orDefault(&s.Requests, 1000)
		orDefault(&s.Engine, Loops)
		s.listeners = map[net.Listener]struct{}{}
		s.conns = map[*conn]struct{}{}
		s.empty = make(chan struct{})
		s.quit = make(chan struct{})
		s.work.New = func() any { return newWork() }
		s.date.set(time.Now())
		s.alone = lane.N == 1
		s.resumer, _ = s.Handler.(Resumer)
		go s.sweep(s.interval())
	})
}

// Serve accepts connections on ln until it fails or the server is shut down,
// which returns nil. It may be called for several listeners.
func (s *Server) Serve(ln net.Listener) error {
	s.setup()
	if err := s.listen(ln); err != nil || s.stopping.Load() {
		return errors.Join(err, ln.Close())
	}
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
	}()
	wait := 5 * time.Millisecond
	for {
		nc, err := s.accept(ln)
		if err == nil {
			wait = 5 * time.Millisecond
			s.accepted.Add(1)
			if c := s.open(nc); c != nil {
				s.start(c)
			}
			continue
		}
		if s.stopping.Load() {
			return nil
		}
		if !passing(err) {
			return err
		}
		select { // out of descriptors, perhaps: others will end
		case <-time.After(wait):
		case <-s.quit:
			return nil
		}
		wait = min(2*wait, time.Second)
	}
}

func (s *Server) accept(ln net.Listener) (net.Conn, error) {
	if t, ok := ln.(*net.TCPListener); ok && s.loops != nil {
		nc, err := t.Accept()
		if err != nil {
			return nil, err
		}
		if c, err := loop.Take(nc.(*net.TCPConn)); err == nil {
			return c, nil
		}
		return nc, nil
	}
	return ln.Accept()
}

// listen notes a listener, and makes loops for the first whose connections can
// have them.
func (s *Server) listen(ln net.Listener) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		return nil
	}
	s.listeners[ln] = struct{}{}
	if _, ok := ln.(*net.TCPListener); ok && s.loops == nil && s.Engine == Loops {
		s.loops, err = loop.New(lane.N, nano)
	}
	return err
}

// start serves an accepted connection.
func (s *Server) start(c *conn) {
	if c.lc == nil {
		go c.run()
	} else if err := c.lc.Serve(s.loops.Next(), c.called); err != nil {
		c.close = true
		c.run()
	}
}

// passing reports whether Accept may work again soon.
func passing(err error) bool {
	var te interface{ Temporary() bool }
	return errors.As(err, &te) && te.Temporary()
}

// ServeConn serves one connection that is established already (TLS after its
// handshake) and returns when it is closed.
func (s *Server) ServeConn(nc net.Conn) {
	s.setup()
	s.accepted.Add(1)
	if c := s.open(nc); c != nil {
		c.pinned = true
		c.run()
	}
}

// open takes a connection in, or closes it when the server is stopping.
func (s *Server) open(nc net.Conn) *conn {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		nc.Close()
		return nil
	}
	s.conns[c] = struct{}{}
	s.handled.Add(1)
	return c
}

// forget is the end of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.stopping.Load() && len(s.conns) == 0 {
		s.closeEmpty()
	}
}

func (s *Server) closeEmpty() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// Shutdown stops accepting, closes idle connections and waits for the requests
// on the way. When ctx ends first, it breaks them off and returns ctx.Err().
func (s *Server) Shutdown(ctx context.Context) error {
	s.setup()
	s.mu.Lock()
	first := !s.stopping.Swap(true)
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.kick()
	}
	if len(s.conns) == 0 {
		s.closeEmpty()
	}
	s.mu.Unlock()
	if first {
		defer s.end()
	}
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.abort()
	}
	s.mu.Unlock()
	<-s.empty
	return ctx.Err()
}

// end stops what works for all connections.
func (s *Server) end() {
	close(s.quit)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loops != nil {
		s.loops.Close()
	}
}

// Stats counts what is going on.
func (s *Server) Stats() Stats {
	s.setup()
	st := Stats{Accepted: s.accepted.Load(), Handled: s.handled.Load(), Requests: s.requests.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Active = int64(len(s.conns))
	for c := range s.conns {
		switch c.phase.Load() {
		case phaseIdle:
			st.Waiting++
		case phaseHead:
			st.Reading++
		default:
			st.Writing++
		}
	}
	return st
}
