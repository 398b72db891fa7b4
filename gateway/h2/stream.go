package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sluice/gateway/wire"
)

// stream is one request and its answer. It is reused.
type stream struct {
	srv      *Server
	x        wire.Exchange
	w        http.ResponseWriter
	r        *http.Request
	body     *body    // nil: the request has none
	names    []string // of the request's fields
	writing  guard
	tunnel   bool // an extended CONNECT
	answered bool
	broken   bool // the answer cannot be finished: reset the stream
}

func newStream(srv *Server) *stream {
	s := &stream{srv: srv}
	s.x.Sender = s
	// Resets the stream: a client that opens no window would hold it for ever.
	s.writing.expire = func() { _ = http.NewResponseController(s.w).SetWriteDeadline(past) }
	return s
}

// none is the body of a request without one.
type none struct{}

func (none) Read([]byte) (int, error) { return 0, io.EOF }

// serve runs one request. It panics with http.ErrAbortHandler to reset it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *conn) {
	st := s.streams.Get().(*stream)
	st.w, st.r = w, r
	st.x.Context = r.Context()
	st.x.Req.Body = none{}
	status, reason := st.fill(r, c)
	if status != 0 {
		st.refuse(status, reason, c)
	} else {
		st.run(c)
	}
	broken := st.broken || !st.answered
	st.reset()
	s.streams.Put(st)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// run calls the handler. Its panic costs this request, nothing else.
func (s *stream) run(c *conn) {
	defer func() {
		if v := recover(); v != nil {
			s.broken = true
			s.srv.opts.OnError(c.addr, &wire.Error{Side: wire.Us, Kind: wire.Aborted, Err: fmt.Errorf("panic: %v", v)})
		}
	}()
	s.srv.handler.Serve(&s.x)
}

func (s *stream) refuse(status int, reason string, c *conn) {
	resp := &wire.Response{Status: status}
	if s.srv.opts.BadRequest != nil {
		if made := s.srv.opts.BadRequest(&s.x, status); made != nil {
			resp = made
		}
	}
	_, _ = s.Send(resp, nil) // the client is at fault already
	s.srv.opts.OnError(c.addr, &wire.Error{Side: wire.Client, Kind: wire.Malformed, Err: errors.New(reason)})
}

// reset keeps the memory of the headers and the handler's slot.
func (s *stream) reset() {
	s.writing.reset()
	if s.body != nil {
		s.body.detach()
		s.body = nil
	}
	q, a := &s.x.Req, &s.x.Resp
	q.Header.Reset()
	q.Trailer.Reset()
	*q = wire.Request{Header: q.Header, Trailer: q.Trailer}
	a.Header.Reset()
	a.Trailer.Reset()
	*a = wire.Response{Header: a.Header, Trailer: a.Trailer}
	s.x.Context = nil
	clear(s.names)
	s.w, s.r, s.names = nil, nil, s.names[:0]
	s.tunnel, s.answered, s.broken = false, false, false
}

const copySize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// Send writes the answer; see wire.Sender.
func (s *stream) Send(resp *wire.Response, filter wire.BodyFilter) (wire.Sent, error) {
	if s.answered {
		return wire.Sent{}, &wire.Error{Side: wire.Us, Kind: wire.Malformed, Err: errors.New("the request is answered already")}
	}
	s.answered = true
	out := sending{s: s, resp: resp, filter: filter, left: resp.ContentLength}
	err := out.run()
	if s.body != nil {
		// Nobody needs the rest of the request. Whoever still waits for it on its
		// way upstream is woken up; closing the answer would wait for him.
		_ = s.r.Body.Close()
	}
	if resp.Body != nil {
		if e := resp.Body.Close(); err == nil && e != nil {
			err = e
		}
	}
	if err != nil {
		s.broken = true
	}
	return out.sent, err
}

// sending is the writing of one answer.
type sending struct {
	s      *stream
	resp   *wire.Response
	filter wire.BodyFilter
	left   int64 // of the announced length; -1: none announced
	sent   wire.Sent
	queued bool // something was written and not flushed
}

func (o *sending) run() error {
	bare := o.s.x.Req.Method == http.MethodHead || o.resp.Status == 204 || o.resp.Status == 304
	if o.resp.Body == nil && !bare && (o.filter == nil || o.left > 0) {
		o.left = 0
	}
	o.head()
	if bare {
		return nil
	}
	if err := o.body(); err != nil {
		return err
	}
	if o.queued {
		// It goes out after the handler's return, when no guard can look any more.
		_ = http.NewResponseController(o.s.w).SetWriteDeadline(time.Now().Add(o.s.srv.opts.SendTimeout))
	}
	h := o.s.w.Header()
	for name, value := range o.resp.Trailer.All() {
		if !hopByHop(name) {
			key := http.TrailerPrefix + http.CanonicalHeaderKey(name)
			h[key] = append(h[key], value)
			o.sent.Total += int64(len(name) + len(value))
		}
	}
	return nil
}

// hopByHop are fields of an answer that must not be sent on.
func hopByHop(name string) bool {
	switch len(name) {
	case 7:
		return wire.EqualFold(name, "Upgrade") || wire.EqualFold(name, "Trailer")
	case 10:
		return wire.EqualFold(name, "Connection") || wire.EqualFold(name, "Keep-Alive")
	case 14:
		return wire.EqualFold(name, "Content-Length")
	case 16:
		return wire.EqualFold(name, "Proxy-Connection")
	case 17:
		return wire.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// noType keeps the protocol's engine from guessing a type.
var noType []string

func (o *sending) head() {
	h := o.s.w.Header()
	h["Content-Type"] = noType
	for name, value := range o.resp.Header.All() {
		if hopByHop(name) {
			continue
		}
		key := http.CanonicalHeaderKey(name)
		h[key] = append(h[key], value)
		o.sent.Total += int64(len(name) + len(value))
	}
	if o.left >= 0 && o.resp.Status != 204 && o.resp.Status != 304 {
		h["Content-Length"] = []string{strconv.FormatInt(o.left, 10)}
	}
	o.s.w.WriteHeader(o.resp.Status)
}

func (o *sending) body() error {
	if o.resp.Body == nil {
		if o.filter == nil {
			return nil
		}
		return o.piece(nil, true)
	}
	if o.left < 0 { // the body may take its time
		if err := o.flush(); err != nil {
			return err
		}
	}
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	for {
		n, err := o.resp.Body.Read(buf[:])
		last := errors.Is(err, io.EOF)
		if n > 0 || last {
			if e := o.piece(buf[:n], last); e != nil {
				return e
			}
		}
		switch {
		case last && o.left > 0:
			return &wire.Error{Side: wire.Us, Kind: wire.Malformed,
				Err: fmt.Errorf("response body ended %d bytes short of its Content-Length", o.left)}
		case last:
			return nil
		case err != nil:
			_ = o.flush()
			return err
		case n > 0 && o.left != 0: // a last piece goes with the end of the stream
			if e := o.flush(); e != nil {
				return e
			}
		}
	}
}

// piece filters and writes a piece of the body.
func (o *sending) piece(p []byte, last bool) error {
	if o.filter != nil {
		var err error
		if p, err = o.filter(p, last); err != nil {
			return &wire.Error{Side: wire.Us, Kind: wire.Aborted, Err: err}
		}
	}
	if len(p) == 0 {
		return nil
	}
	if o.left >= 0 {
		if o.left -= int64(len(p)); o.left < 0 {
			return &wire.Error{Side: wire.Us, Kind: wire.Malformed,
				Err: fmt.Errorf("response body exceeds its Content-Length by %d bytes", -o.left)}
		}
	}
	o.s.writing.start(o.s.srv.opts.SendTimeout)
	n, err := o.s.w.Write(p)
	o.s.writing.stop()
	o.queued = true
	o.sent.Body += int64(n)
	o.sent.Total += int64(n)
	return o.clientError(err)
}

func (o *sending) flush() error {
	o.s.writing.start(o.s.srv.opts.SendTimeout)
	err := http.NewResponseController(o.s.w).Flush()
	o.s.writing.stop()
	o.queued = false
	return o.clientError(err)
}

func (o *sending) clientError(err error) error {
	if err == nil {
		return nil
	}
	kind := wire.Closed
	if o.s.writing.timedOut() {
		kind = wire.Timeout
	}
	return &wire.Error{Side: wire.Client, Kind: kind, Err: fmt.Errorf("sending to the client: %w", err)}
}

// Inform relays an interim answer; see wire.Sender. 100 is the engine's own.
func (s *stream) Inform(status int, h *wire.Header) error {
	if s.answered || status < 102 || status > 199 {
		return nil
	}
	to := s.w.Header()
	if h != nil {
		for name, value := range h.All() {
			if !hopByHop(name) {
				to.Add(name, value)
			}
		}
	}
	s.w.WriteHeader(status)
	clear(to)
	return nil
}

// Tunnel answers an extended CONNECT; see wire.Sender. A 101 of the upstream is
// a 200 here. It returns when either side ends, and closes up.
func (s *stream) Tunnel(resp *wire.Response, up io.ReadWriteCloser) (wire.Sent, error) {
	defer up.Close()
	if s.answered || !s.tunnel {
		s.broken = true
		return wire.Sent{}, &wire.Error{Side: wire.Us, Kind: wire.Malformed, Err: errors.New("no tunnel was asked for")}
	}
	s.answered = true
	if resp.Status == http.StatusSwitchingProtocols {
		resp.Status = http.StatusOK
	}
	resp.Header.Del("Sec-WebSocket-Accept")
	out := sending{s: s, resp: resp, left: -1}
	out.head()
	if err := out.flush(); err != nil {
		return out.sent, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, s.r.Body)
		_ = up.Close() // ends the loop below
	}()
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	var err error
	for err == nil {
		var n int
		n, err = up.Read(buf[:])
		if n > 0 {
			if e := out.piece(buf[:n], false); e != nil {
				err = e
			} else if e := out.flush(); e != nil {
				err = e
			}
		}
	}
	_ = up.Close()
	_ = s.r.Body.Close() // ends the copy
	<-done
	return out.sent, nil
}
