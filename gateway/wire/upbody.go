package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// upBody is the body of a response: what came with the head, then the
// connection. As the body of a 101 it is the connection itself, both ways.
type upBody struct {
	u       *upConn
	pre     []byte // received with the head, framed
	left    int64  // of Content-Length
	until   bool   // ends when the connection does
	chunked bool
	tunnel  bool
	chunks  chunkReader
	data    []byte // of pre: a complete body without framing
	full    bool   // data is all of it
	keep    bool   // the connection may be used again after the body
	done    bool   // read to its end
	closed  bool
	err     error
	resp    *Response

	sendWait, readWait int64           // of a tunnel
	lastWrite          atomic.Int64    // through the tunnel, nano
	buf                *[copySize]byte // for chunk framing beyond pre
}

// accept prepares the body of the response whose head was read.
func (u *upConn) accept() error {
	t := &u.trip
	r, f := t.resp, &t.f
	var b *upBody
	if c := t.x.conn; c != nil && !t.own {
		b, c.w.up = &c.w.resp, t.buf
	} else {
		b = new(upBody)
	}
	b.begin(u)
	b.pre, b.resp, b.keep = t.buf[t.end:t.n], r, f.persistent(t.minor)
	if err := b.frame(t); err != nil {
		b.closed = true
		return err
	}
	return nil
}

// frame finds out how the body ends, and takes it if it is here already.
func (b *upBody) frame(t *trip) error {
	r, f := t.resp, &t.f
	r.Body, r.ContentLength = b, f.length
	if t.up == nil {
		t.consumed()
	}
	switch {
	case r.Status == 101:
		if t.out.Upgrade == "" {
			return errSwitch
		}
		b.tunnel, b.keep, r.ContentLength = true, false, -1
		b.sendWait, b.readWait = orMinute(t.out.Send), orMinute(t.out.Read)
		return nil
	case t.out.Method == "HEAD", r.Status == 204, r.Status == 304:
		if c := t.x.conn; r.Status == 204 || c != nil && !c.w.head && r.Status != 304 {
			r.ContentLength = 0 // also for a client that did not ask with HEAD: it would wait for a body
		}
		return b.setWhole(nil, 0)
	case f.chunked:
		b.chunked = true
		framed, size, err := b.chunks.span(b.pre)
		if err != nil {
			return err
		}
		if framed > 0 {
			return b.unchunk(framed, size)
		}
	case f.length >= 0:
		b.left = f.length
		if int64(len(b.pre)) >= b.left {
			return b.setWhole(b.pre[:b.left], int(b.left))
		}
	default:
		b.until, b.keep = true, false
	}
	return nil
}

// begin readies b for a new response.
func (b *upBody) begin(u *upConn) {
	if b.u != nil {
		b.release() // of an answer that was not wanted
	}
	b.u, b.pre, b.data, b.resp, b.buf, b.err = u, nil, nil, nil, nil, nil
	b.left, b.chunks = 0, chunkReader{}
	b.until, b.chunked, b.tunnel, b.full = false, false, false, false
	b.keep, b.done, b.closed = false, false, false
	b.lastWrite.Store(0)
}

// consumed marks the body of the request as sent.
func (t *trip) consumed() {
	switch o := t.out.Body.(type) {
	case *reqBody:
		if !o.eof.Load() && !t.stream {
			o.skip()
		}
	case *rejoined:
		if !t.stream {
			o.skip()
		}
	}
}

// setWhole is for a body that was received as a whole. Surplus bytes are the
// end of the connection: nobody asked for them.
func (b *upBody) setWhole(data []byte, framed int) error {
	b.data, b.full = data, true
	if framed < len(b.pre) {
		b.keep = false
	}
	b.pre = nil
	if len(data) == 0 {
		b.finish()
	}
	return nil
}

// unchunk moves the data of a complete chunked body together.
func (b *upBody) unchunk(framed, size int) error {
	in := b.pre[:framed]
	to := 0
	for at := 0; at < len(in); {
		data, used, err := b.chunks.next(in[at:], &b.resp.Trailer)
		if err != nil {
			return err
		}
		at += used
		to += copy(in[to:], data)
	}
	return b.setWhole(in[:size], framed)
}

// whole returns the body if all of it is in memory.
func (b *upBody) whole() ([]byte, bool) { return b.data, b.full }

// buffered returns data that can be sent without waiting and without framing.
func (b *upBody) buffered() []byte {
	if b.chunked || b.tunnel || b.full {
		return nil
	}
	return b.pre
}

// drop marks n bytes of buffered as read.
func (b *upBody) drop(n int) {
	b.pre = b.pre[n:]
	b.left -= int64(n)
}

// finish is the end of a complete body: the connection goes back.
func (b *upBody) finish() {
	b.done = true
	b.release()
}

// release gives the connection back to its pool, or closes it.
func (b *upBody) release() {
	if b.closed {
		return
	}
	b.closed = true
	u := b.u
	t := &u.trip
	if b.buf != nil {
		copyBuffers.Put(b.buf)
		b.buf = nil
	}
	t.unwatch()
	keep := b.done && b.keep && b.err == nil
	if !keep || t.up != nil && !t.up.complete() {
		u.close()
		return
	}
	now := t.headAt
	if !b.full {
		now = nano()
	}
	t.forget()
	u.peer.give(u, now)
}

// Close gives the connection back, or closes it if the body was not read to its end.
func (b *upBody) Close() error {
	b.release()
	return nil
}

// cut breaks a tunnel off, from any goroutine.
func (b *upBody) cut() { b.u.close() }

func (b *upBody) Read(p []byte) (int, error) {
	if b.full {
		return b.readWhole(p)
	}
	switch {
	case b.err != nil:
		return 0, b.err
	case b.done:
		return 0, io.EOF
	case b.closed:
		return 0, errors.New("body was closed")
	case len(p) == 0:
		return 0, nil
	}
	n, err := b.read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	b.err = b.explain(err)
	return n, b.err
}

func (b *upBody) readWhole(p []byte) (int, error) {
	if len(b.data) == 0 {
		b.done = true
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	b.done = len(b.data) == 0
	return n, nil
}

func (b *upBody) read(p []byte) (int, error) {
	switch {
	case b.chunked:
		return b.readChunked(p)
	case b.until, b.tunnel:
		n, err := b.raw(p)
		for b.tunnel && errors.Is(err, os.ErrDeadlineExceeded) && nano()-b.lastWrite.Load() < b.readWait {
			n, err = b.raw(p) // silent, but not unused
		}
		if err == io.EOF {
			b.done = true
		}
		return n, err
	}
	n, err := b.raw(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if b.left == 0 {
		b.done = true
		return n, io.EOF
	}
	return n, err
}

// raw reads what came with the head, then from the connection.
func (b *upBody) raw(p []byte) (int, error) {
	if len(b.pre) > 0 {
		n := copy(p, b.pre)
		b.pre = b.pre[n:]
		return n, nil
	}
	return b.u.read(p)
}

func (b *upBody) readChunked(p []byte) (int, error) {
	for {
		if len(b.pre) == 0 {
			if b.chunks.state == chunkData && len(p) >= 4<<10 {
				return b.direct(p)
			}
			if err := b.refill(); err != nil {
				return 0, err
			}
		}
		data, used, err := b.chunks.next(b.pre[:min(len(b.pre), len(p))], &b.resp.Trailer)
		n := copy(p, data)
		b.pre = b.pre[used:]
		if err != nil {
			return n, err
		}
		if b.chunks.state == chunkDone {
			b.done = true
			b.keep = b.keep && len(b.pre) == 0
			return n, io.EOF
		}
		if n > 0 {
			return n, nil
		}
	}
}

// direct reads chunk data without a buffer between, and what of the framing
// comes with it.
func (b *upBody) direct(p []byte) (int, error) {
	n, err := b.u.read(p[:min(int64(len(p)), b.chunks.left)])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if n > 0 {
		_, _, _ = b.chunks.next(p[:n], nil) // data only: cannot fail
	}
	return n, err
}

func (b *upBody) refill() error {
	if b.buf == nil {
		b.buf = copyBuffers.Get().(*[copySize]byte)
	}
	n, err := b.u.read(b.buf[:])
	b.pre = b.buf[:n]
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if n > 0 {
		return nil
	}
	return err
}

// explain turns a failure within a body into an *Error.
func (b *upBody) explain(err error) error {
	e := b.u.explain(err)
	e.Retry = No
	if b.u.trip.sent {
		e.Err = fmt.Errorf("reading the response body from %s: %w", b.u.peer.opts.Addr, err)
	}
	return e
}

// Write sends bytes through a tunnel.
func (b *upBody) Write(p []byte) (int, error) {
	n, err := b.u.send(p, b.sendWait)
	b.lastWrite.Store(nano())
	return n, err
}
