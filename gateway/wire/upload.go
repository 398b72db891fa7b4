package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// lease lends the body of a request to another goroutine until the exchange
// ends. After that reads fail and touch nothing of the connection.
type lease struct {
	b    *reqBody
	mu   sync.Mutex // held while the body is read
	over bool
	back sync.Mutex // held while the connection is touched otherwise
}

var errLeaseOver = errors.New("the exchange has ended")

func (l *lease) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, errLeaseOver
	}
	return l.b.Read(p)
}

// Close makes a pending Read return: the borrower wants no more.
func (l *lease) Close() error {
	l.back.Lock()
	defer l.back.Unlock()
	if l.b != nil && !l.b.eof.Load() {
		l.b.c.quitBody.Store(true)
		l.b.c.kick()
	}
	return nil
}

// lend lends the request's body out, after asking the client for it: the
// borrower must not write to the client.
func (c *conn) lend(b *reqBody) (*lease, error) {
	if err := b.ask(); err != nil {
		return nil, err
	}
	c.lease = &lease{b: b}
	return c.lease, nil
}

// ask sends the 100 that the client waits for.
func (b *reqBody) ask() error {
	if !b.want100 || b.c.r < b.c.n {
		return nil
	}
	b.want100 = false
	return b.c.interim(100, nil)
}

// endLease takes the body back at the end of the exchange.
func (c *conn) endLease() {
	l := c.lease
	if l == nil {
		return
	}
	c.lease = nil
	if !c.w.body.eof.Load() {
		c.quitBody.Store(true)
		c.kick()
		c.close = true
	}
	l.mu.Lock()
	l.back.Lock()
	l.over, l.b = true, nil
	l.back.Unlock()
	l.mu.Unlock()
	c.quitBody.Store(false)
	c.deadline = 0
}

// upload is the sending of a request body beside the reading of the response,
// so that an early answer gets through. Its goroutine ends with the body, or
// when the connection is closed or the lease is over.
type upload struct {
	u        *upConn
	src      io.Reader
	length   int64 // -1: chunked
	trailer  *Header
	wait     int64
	progress atomic.Int64 // nano of the last write
	wrote    atomic.Int64
	ending   atomic.Bool // the source is at its end
	fault    error       // of the source; set before done
	failed   bool        // not all was sent
	done     chan struct{}
}

// startUpload begins to send the body of the request.
func (u *upConn) startUpload() (*upload, error) {
	t := &u.trip
	o := t.out
	up := &upload{u: u, src: o.Body, length: o.ContentLength, trailer: o.Trailer,
		wait: orMinute(o.Send), done: make(chan struct{})}
	switch b := o.Body.(type) {
	case *bytes.Reader:
		data := peekReader(b)
		up.src, up.length = bytes.NewReader(data), int64(len(data))
	case *reqBody:
		l, err := b.c.lend(b)
		if err != nil {
			return nil, err
		}
		up.src = l
	case *rejoined:
		l, err := b.lend()
		if err != nil {
			return nil, err
		}
		up.src = l
	}
	up.progress.Store(nano())
	go up.run()
	return up, nil
}

func orMinute(d time.Duration) int64 {
	if d <= 0 {
		d = time.Minute
	}
	return int64(d)
}

func (p *upload) run() {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	if err := p.copy(buf[:]); err != nil {
		p.failed = true
	}
	fault := p.fault != nil
	close(p.done)
	if fault { // after done: whom the kick wakes looks whether it is over
		p.u.kick()
	}
}

// copy sends the body. What fails on the upstream side ends it without a
// fault: the answer may still come.
func (p *upload) copy(buf []byte) error {
	const head = 8 // room for a chunk's size: 4 hex digits, CRLF
	left := p.length
	for left != 0 {
		n, err := p.src.Read(buf[head : len(buf)-2])
		if left > 0 && int64(n) > left {
			n = int(left)
		}
		atEnd := err == io.EOF || left > 0 && int64(n) == left
		if atEnd {
			p.ending.Store(true)
		}
		if n > 0 {
			if e := p.send(frameChunk(buf, head, n, left < 0)); e != nil {
				return e
			}
		}
		if left > 0 {
			left -= int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil && left != 0 {
			p.fault = err
			return err
		}
	}
	switch {
	case left > 0:
		p.fault = &Error{Side: Client, Kind: Closed, Err: fmt.Errorf("request body ended %d bytes short of its Content-Length", left)}
		return p.fault
	case left == 0:
		return nil
	}
	b := append(buf[:0], '0', '\r', '\n')
	if p.trailer != nil {
		b = appendTrailer(b, p.trailer)
	}
	return p.send(append(b, '\r', '\n'))
}

// frameChunk returns the n data bytes at buf[head:], as a chunk if need be.
func frameChunk(buf []byte, head, n int, chunked bool) []byte {
	if !chunked {
		return buf[head : head+n]
	}
	var size [8]byte
	s := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
	from := head - len(s)
	copy(buf[from:], s)
	buf[head+n], buf[head+n+1] = '\r', '\n'
	return buf[from : head+n+2]
}

func (p *upload) send(b []byte) error {
	n, err := p.u.send(b, p.wait)
	p.wrote.Add(int64(n))
	p.progress.Store(nano())
	return err
}

// over reports whether the upload has ended.
func (p *upload) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// complete reports whether all of the body was sent. An upload that has only
// its last step to make is waited for, briefly.
func (p *upload) complete() bool {
	if p.ending.Load() && !p.over() {
		select {
		case <-p.done:
		case <-time.After(50 * time.Millisecond):
		}
	}
	return p.over() && !p.failed
}
