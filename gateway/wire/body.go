package wire

import (
	"io"
	"sync/atomic"
)

// noBody is the body of a request without one.
type noBody struct{}

func (noBody) Read([]byte) (int, error) { return 0, io.EOF }

// reqBody is the body of a request on an HTTP/1 connection. It is read by one
// goroutine at a time, not always the connection's own (uploads).
type reqBody struct {
	c       *conn
	chunked bool
	want100 bool  // the client waits for 100 before it sends
	left    int64 // with Content-Length
	chunks  chunkReader
	room    int64 // how much longer a chunked body may get; below 0: any length
	err     error
	eof     atomic.Bool // all of it was read
}

// start readies the body for a request whose head was just parsed.
func (b *reqBody) start(c *conn, r *Request, f *framing) {
	b.c, b.chunked, b.left, b.err = c, f.chunked, r.ContentLength, nil
	b.want100 = f.expect && r.Minor == 1 && r.ContentLength != 0
	b.chunks, b.room = chunkReader{}, -1
	b.eof.Store(r.ContentLength == 0)
	r.Body = noBody{}
	if r.ContentLength != 0 {
		r.Body = b
	}
}

// inBuffer takes a body that is in the buffer as a whole and reports whether it was.
func (b *reqBody) inBuffer() (bool, error) {
	c := b.c
	if b.eof.Load() {
		return true, nil
	}
	if !b.chunked {
		return int64(c.n-c.r) >= b.left, nil
	}
	framed, size, err := b.chunks.span(c.w.in[c.r:c.n])
	if err != nil || framed == 0 {
		return false, err
	}
	b.unchunk(framed)
	b.chunked, b.left = false, int64(size)
	b.eof.Store(size == 0)
	return true, nil
}

// unchunk moves the data of a complete chunked body together, right before
// what follows the body.
func (b *reqBody) unchunk(framed int) {
	c := b.c
	in := c.w.in[c.r : c.r+framed]
	to := 0
	for at := 0; at < len(in); {
		data, used, _ := b.chunks.next(in[at:], &c.w.x.Req.Trailer)
		at += used
		to += copy(in[to:], data)
	}
	gap := framed - to
	copy(in[gap:], in[:to])
	c.r += gap
}

// whole returns the body without reading it, if it is in the buffer as a whole.
func (b *reqBody) whole() ([]byte, bool) {
	if b.chunked || b.err != nil || int64(b.c.n-b.c.r) < b.left {
		return nil, false
	}
	return b.c.w.in[b.c.r : b.c.r+int(b.left)], true
}

// gather reads the rest of a short body into the buffer, and reports whether it
// took time: the upstream gets the request in one piece then, as from nginx
// (proxy_request_buffering). A failure shows when the body is read.
func (b *reqBody) gather() (took bool) {
	c := b.c
	if b.chunked || b.err != nil || b.eof.Load() || c.fd >= 0 || c.lease != nil || b.left > int64(len(c.w.in)-c.r) {
		return false
	}
	for int64(c.n-c.r) < b.left {
		err := b.ask()
		n := 0
		if err == nil {
			n, err = c.readBody(c.w.in[c.n:])
		}
		if err != nil {
			_ = b.fail(err)
			return true
		}
		c.n += n
		took = true
	}
	return took
}

// skip drops what whole returned.
func (b *reqBody) skip() {
	b.c.r += int(b.left)
	b.left = 0
	b.eof.Store(true)
}

func (b *reqBody) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.eof.Load():
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if err := b.ask(); err != nil {
		return 0, b.fail(err)
	}
	if b.chunked {
		return b.readChunked(p)
	}
	n, err := b.raw(p[:min(int64(len(p)), b.left)])
	if err != nil {
		return 0, b.fail(err)
	}
	b.left -= int64(n)
	if b.left == 0 {
		b.eof.Store(true)
	}
	return n, nil
}

// raw reads body bytes from the buffer or else from the connection.
func (b *reqBody) raw(p []byte) (int, error) {
	c := b.c
	if c.r < c.n {
		n := copy(p, c.w.in[c.r:c.n])
		c.r += n
		return n, nil
	}
	return c.readBody(p)
}

func (b *reqBody) readChunked(p []byte) (int, error) {
	c := b.c
	for {
		if b.chunks.state == chunkData && c.r == c.n && len(p) >= 4<<10 {
			return b.direct(p)
		}
		limit := min(c.n, c.r+len(p))
		data, used, err := b.chunks.next(c.w.in[c.r:limit], &c.w.x.Req.Trailer)
		n := copy(p, data)
		c.r += used
		if err == nil {
			err = b.count(n)
		}
		if err != nil {
			return 0, b.fail(err)
		}
		if b.chunks.state == chunkDone {
			b.eof.Store(true)
			return n, io.EOF
		}
		if n > 0 {
			return n, nil
		}
		if c.r < c.n {
			continue
		}
		if err := b.refill(); err != nil {
			return 0, b.fail(err)
		}
	}
}

// LimitBody refuses a body of more than max bytes: false says that it is known
// to be longer, and for a body of unknown length Read fails with {Client,
// TooLarge} once it is. It is for the handler, before anything is read.
func (r *Request) LimitBody(max int64) bool {
	if r.ContentLength > max {
		return false
	}
	switch b := r.Body.(type) {
	case *reqBody:
		if !b.chunked {
			return b.left <= max
		}
		b.room = max
	case noBody:
	default:
		if r.ContentLength < 0 {
			r.Body = &limited{b, max}
		}
	}
	return true
}

// count takes n bytes of a chunked body from its room.
func (b *reqBody) count(n int) error {
	if b.room < 0 {
		return nil
	}
	if int64(n) > b.room {
		return errBodyLimit
	}
	b.room -= int64(n)
	return nil
}

var errBodyLimit = &violation{text: "the request body is longer than allowed", big: true}

// limited is the body of another protocol with a limit.
type limited struct {
	io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, &Error{Side: Client, Kind: TooLarge, Err: errBodyLimit}
	}
	return n, err
}

// direct reads chunk data without the buffer.
func (b *reqBody) direct(p []byte) (int, error) {
	n, err := b.c.readBody(p[:min(int64(len(p)), b.chunks.left)])
	if err != nil {
		return 0, b.fail(err)
	}
	_, _, _ = b.chunks.next(p[:n], nil) // data only: cannot fail
	if err := b.count(n); err != nil {
		return 0, b.fail(err)
	}
	return n, nil
}

// refill reads framing into the buffer, behind the head: its strings are in use.
func (b *reqBody) refill() error {
	c := b.c
	if c.headEnd+2<<10 > len(c.w.in) {
		in := make([]byte, c.headEnd+8<<10)
		c.w.in = in // the head stays where it is: strings keep the old array
		c.headEnd = 0
	}
	c.r, c.n = c.headEnd, c.headEnd
	n, err := c.readBody(c.w.in[c.headEnd:])
	c.n += n
	return err
}

func (b *reqBody) fail(err error) error {
	if v, ok := err.(*violation); ok {
		kind := Malformed
		if v.big {
			kind = TooLarge
		}
		err = &Error{Side: Client, Kind: kind, Err: v}
	}
	b.err = err
	return err
}

// discardable says whether the rest of the body is short enough to be read
// away so that the connection can be kept.
func (b *reqBody) discardable() bool {
	return b.err == nil && !b.want100 && (b.chunked || b.left <= maxDiscard)
}

const maxDiscard = 256 << 10

// discard reads the rest of the body away.
func (b *reqBody) discard() error {
	var trash [4 << 10]byte
	for total := 0; total <= maxDiscard; {
		n, err := b.Read(trash[:])
		total += n
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errTooLarge
}
