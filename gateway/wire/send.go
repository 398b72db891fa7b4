package wire

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// errAnswered is what a handler gets that answers twice.
var errAnswered = errors.New("the request is answered already")

// Send writes resp to the client; see Sender.
func (c *conn) Send(resp *Response, filter BodyFilter) (Sent, error) {
	if c.answered {
		return Sent{}, &Error{Side: Us, Kind: Malformed, Err: errAnswered}
	}
	s := sending{c: c, resp: resp, filter: filter}
	s.plan()
	s.b = s.head(c.w.out[:0])
	err := s.body()
	c.w.out = s.b[:0]
	if resp.Body != nil {
		if e := resp.Body.Close(); err == nil && e != nil {
			err = e
		}
	}
	if err != nil {
		c.close = true
		// nothing has gone out: there may be another answer
		c.answered = s.sent.Total > 0
	}
	return s.sent, err
}

// sending is the writing of one response.
type sending struct {
	c       *conn
	resp    *Response
	filter  BodyFilter
	b       []byte // not yet written
	bodyIn  int    // of b: body without framing
	sent    Sent
	left    int64 // of Content-Length
	chunked bool
	bare    bool // no body is sent: HEAD, 204, 304
}

// plan decides on the framing and whether the connection is kept.
func (s *sending) plan() {
	c, r := s.c, s.resp
	req := &c.w.x.Req
	s.left = r.ContentLength
	s.bare = c.w.head || r.Status == 204 || r.Status == 304
	if r.Body == nil && !s.bare && (s.filter == nil || s.left > 0) {
		s.left = 0
	}
	if !s.bare && s.left < 0 {
		if req.Minor == 1 {
			s.chunked = true
		} else {
			c.close = true
		}
	}
	b := &c.w.body
	switch {
	case !c.w.f.persistent(req.Minor), c.srv.stopping.Load(),
		c.srv.Requests > 0 && c.served >= c.srv.Requests:
		c.close = true
	case b.eof.Load():
	case c.lease != nil:
		c.close = true // answered before the request ended
	default:
		if _, whole := b.whole(); !whole && (c.fd >= 0 || !b.discardable()) {
			c.close = true
		}
	}
}

// head appends the response head.
func (s *sending) head(b []byte) []byte {
	c, r := s.c, s.resp
	c.answered = true
	b = appendStatus(b, r.Status)
	date := false
	fields := r.Header.fields
	for i := 0; i < len(fields); {
		f := &fields[i]
		if f.line != 0 {
			var lines []byte
			lines, i = verbatim(fields, i)
			b = append(b, lines...)
			continue
		}
		i++
		switch hop(f.Name) {
		case hopNone, hopHost: // Host means nothing in a response, and passes as any field
		case hopUpgrade:
			if r.Status != 101 && r.Status != 426 {
				continue
			}
		default:
			continue
		}
		if len(f.Name) == 4 && EqualFold(f.Name, "Date") {
			date = true
		}
		if len(f.Name) == 7 && !s.chunked && EqualFold(f.Name, "Trailer") {
			continue
		}
		b = f.append(b)
	}
	if !date {
		b = append(b, c.srv.date.line()...)
	}
	b = s.framingFields(b)
	return append(b, '\r', '\n')
}

func (s *sending) framingFields(b []byte) []byte {
	switch r := s.resp; {
	case r.Status == 101:
		return append(b, "Connection: upgrade\r\n"...)
	case s.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case s.left > 0 && r.Status != 204, s.left == 0 && r.Status != 204 && r.Status != 304:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, s.left, 10)
		b = append(b, '\r', '\n')
	}
	if s.c.close {
		return append(b, "Connection: close\r\n"...)
	}
	return append(b, "Connection: keep-alive\r\n"...)
}

// append appends the field's line.
func (f *Field) append(b []byte) []byte {
	if !f.own {
		return appendField(b, f.Name, f.Value)
	}
	b = append(append(b, f.Name...), ':', ' ')
	return append(append(b, f.Value...), '\r', '\n')
}

// appendField appends a field line. What would break the framing of the head
// is left out: a name that is no token, control characters in a value.
func appendField(b []byte, name, value string) []byte {
	if name == "" || !all(name, inToken) {
		return b
	}
	b = append(b, name...)
	b = append(b, ':', ' ')
	if clean(value) {
		b = append(b, value...)
	} else {
		for i := range len(value) {
			if v := value[i]; v >= 0x20 && v != 0x7f || v == '\t' {
				b = append(b, v)
			}
		}
	}
	return append(b, '\r', '\n')
}

// body sends the head and then the body.
func (s *sending) body() error {
	r := s.resp
	if s.bare || r.Body == nil {
		if s.filter != nil && !s.bare {
			return s.last(nil)
		}
		if s.chunked {
			s.endChunks()
		}
		return s.flush()
	}
	if m, ok := r.Body.(inMemory); ok && s.filter == nil {
		return s.end(m.Bytes())
	}
	if u, ok := r.Body.(*upBody); ok {
		if data, whole := u.whole(); whole {
			return s.wholeBody(u, data)
		}
		if data := u.buffered(); len(data) > 0 {
			if err := s.piece(data); err != nil {
				return err
			}
			u.drop(len(data))
		}
		if done, err := s.splice(u); done || err != nil {
			return err
		}
	}
	return s.stream(r.Body)
}

// wholeBody sends a body that came with its head in one write.
func (s *sending) wholeBody(u *upBody, data []byte) error {
	u.finish()
	err := s.end(data)
	if x := &s.c.w.x; err == nil && s.filter == nil && !s.c.waited {
		x.whole = x.arrived
	}
	return err
}

// stream copies the body piece by piece, each as soon as it is there.
func (s *sending) stream(r io.Reader) error {
	s.c.leave()
	if err := s.flush(); err != nil { // the body may take time
		return err
	}
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if err == io.EOF {
			return s.end(buf[:n])
		}
		if n > 0 {
			if e := s.piece(buf[:n]); e != nil {
				return e
			}
			if e := s.flush(); e != nil {
				return e
			}
		}
		if err != nil {
			_ = s.flush()
			return err
		}
	}
}

// piece filters, frames and queues a piece of the body that is not the last.
func (s *sending) piece(p []byte) error {
	if s.filter != nil {
		var err error
		if p, err = s.filter(p, false); err != nil {
			return &Error{Side: Us, Kind: Aborted, Err: err}
		}
	}
	return s.add(p)
}

// end sends the last piece of a streamed body.
func (s *sending) end(p []byte) error {
	if s.filter != nil {
		return s.last(p)
	}
	if err := s.add(p); err != nil {
		return err
	}
	return s.finish()
}

// last passes the final piece through the filter and ends the body.
func (s *sending) last(p []byte) error {
	out, err := s.filter(p, true)
	if err != nil {
		return &Error{Side: Us, Kind: Aborted, Err: err}
	}
	if err := s.add(out); err != nil {
		return err
	}
	return s.finish()
}

func (s *sending) finish() error {
	if s.chunked {
		s.endChunks()
	} else if s.left > 0 {
		s.c.close = true
		if err := s.flush(); err != nil {
			return err
		}
		return &Error{Side: Us, Kind: Malformed, Err: fmt.Errorf("response body ended %d bytes short of its Content-Length", s.left)}
	}
	if len(s.b) > 0 && s.c.hand(s.b) {
		s.wrote(len(s.b))
		return nil
	}
	return s.flush()
}

// add queues a piece. Large ones are written at once.
func (s *sending) add(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if !s.chunked && s.left >= 0 && int64(len(p)) > s.left {
		s.c.close = true
		return &Error{Side: Us, Kind: Malformed, Err: fmt.Errorf("response body exceeds its Content-Length by %d bytes", int64(len(p))-s.left)}
	}
	if s.chunked {
		s.b = strconv.AppendInt(s.b, int64(len(p)), 16)
		s.b = append(s.b, '\r', '\n')
	} else if s.left > 0 {
		s.left -= int64(len(p))
	}
	if len(s.b)+len(p) > copySize {
		if err := s.flush(); err != nil {
			return err
		}
		n, err := s.c.write(p)
		s.sent.Total += int64(n)
		s.sent.Body += int64(n)
		if err != nil {
			return err
		}
	} else {
		s.b = append(s.b, p...)
		s.bodyIn += len(p)
	}
	if s.chunked {
		s.b = append(s.b, '\r', '\n')
	}
	return nil
}

// endChunks appends the last chunk and the trailer.
func (s *sending) endChunks() {
	s.b = append(s.b, '0', '\r', '\n')
	s.b = appendTrailer(s.b, &s.resp.Trailer)
	s.b = append(s.b, '\r', '\n')
}

func appendTrailer(b []byte, tr *Header) []byte {
	for _, f := range tr.fields {
		if hop(f.Name) == hopNone && !protected(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	return b
}

// flush writes what is queued.
func (s *sending) flush() error {
	if len(s.b) == 0 {
		return nil
	}
	n, err := s.c.write(s.b)
	s.wrote(n)
	return err
}

// wrote notes that the first n bytes of what is queued are on their way.
func (s *sending) wrote(n int) {
	s.sent.Total += int64(n)
	if n == len(s.b) {
		s.sent.Body += int64(s.bodyIn)
	}
	s.b, s.bodyIn = s.b[:0], 0
}
