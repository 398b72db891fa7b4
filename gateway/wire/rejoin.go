package wire

import (
	"bytes"
	"io"
)

// rejoined is a body whose beginning was read, and stands before the rest again.
type rejoined struct {
	head bytes.Reader
	rest io.Reader
}

// Rejoin puts head, which was read from body, before what is left of it. The
// engine knows what it returns, and sends it as it would have sent body.
func Rejoin(head []byte, body io.Reader) io.Reader {
	if r, ok := body.(*rejoined); ok {
		head = append(bytes.Clone(head), peekReader(&r.head)...)
		body = r.rest
	}
	r := &rejoined{rest: body}
	r.head.Reset(head)
	return r
}

func (r *rejoined) Read(p []byte) (int, error) {
	if r.head.Len() > 0 {
		return r.head.Read(p)
	}
	return r.rest.Read(p)
}

// whole returns the body without reading it, if it is short and in memory as a
// whole.
func (r *rejoined) whole() ([]byte, bool) {
	b, ok := r.rest.(*reqBody)
	if !ok {
		return nil, false
	}
	rest, ok := b.whole()
	if !ok || r.head.Len()+len(rest) > copySize {
		return nil, false
	}
	return append(bytes.Clone(peekReader(&r.head)), rest...), true
}

// skip drops what whole returned.
func (r *rejoined) skip() {
	r.head.Reset(nil)
	if b, ok := r.rest.(*reqBody); ok && !b.eof.Load() {
		b.skip()
	}
}

// lend makes r readable by another goroutine until the exchange ends.
func (r *rejoined) lend() (io.Reader, error) {
	b, ok := r.rest.(*reqBody)
	if !ok {
		return r, nil
	}
	l, err := b.c.lend(b)
	if err != nil {
		return nil, err
	}
	lent := &rejoined{rest: l}
	lent.head.Reset(peekReader(&r.head))
	return lent, nil
}
