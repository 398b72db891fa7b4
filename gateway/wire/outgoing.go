package wire

import (
	"bytes"
	"io"
	"strconv"
)

// build makes the bytes of the request in the buffer.
func (t *trip) build() {
	o := t.out
	b := append(t.buf[:0], o.Method...)
	b = append(b, ' ')
	b = appendTarget(b, o.URI)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = appendHost(b, o.Host)
	b = append(b, '\r', '\n')
	length, body := t.length()
	fields := o.Header.fieldsOf()
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
		case hopNone, hopTE:
			if length >= 0 && len(f.Name) == 7 && EqualFold(f.Name, "Trailer") {
				continue
			}
			b = f.append(b)
		}
	}
	switch {
	case o.Upgrade != "":
		b = append(b, "Connection: upgrade\r\nUpgrade: "...)
		b = appendClean(b, o.Upgrade)
		b = append(b, '\r', '\n')
	case length > 0 || length == 0 && bodyExpected(o):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, '\r', '\n')
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, '\r', '\n')
	switch {
	case length < 0 && !t.stream:
		b = appendChunked(b, body, o.Trailer)
	case len(b)+len(body) <= max(cap(t.buf), bufSize):
		b = append(b, body...)
	default:
		t.more = body
	}
	if cap(b) > cap(t.buf) {
		t.buf = b[:cap(b)]
	}
	t.req = b
}

// appendChunked appends a whole body with its trailer.
func appendChunked(b, body []byte, tr *Header) []byte {
	if len(body) > 0 {
		b = strconv.AppendInt(b, int64(len(body)), 16)
		b = append(b, '\r', '\n')
		b = append(b, body...)
		b = append(b, '\r', '\n')
	}
	b = append(b, '0', '\r', '\n')
	b = appendTrailer(b, tr)
	return append(b, '\r', '\n')
}

// bodyExpected says whether an empty body should be announced.
func bodyExpected(o *Outgoing) bool {
	switch o.Method {
	case "POST", "PUT", "PATCH":
		return true
	}
	return o.Body != nil && o.Header.fieldsOf() != nil && o.Header.Has("Content-Length")
}

// length finds how the body is sent: its length (-1: chunked), its bytes if
// they are in memory, or else a stream.
func (t *trip) length() (int64, []byte) {
	o := t.out
	switch b := o.Body.(type) {
	case nil, noBody:
		return 0, nil
	case *bytes.Reader:
		data := peekReader(b)
		if len(data) > copySize {
			t.stream = true
			return int64(len(data)), nil
		}
		return int64(len(data)), data
	case *reqBody:
		if b.eof.Load() {
			return 0, nil
		}
		if data, ok := b.whole(); ok && len(data) <= copySize {
			if len(o.Trailer.fieldsOf()) > 0 {
				return -1, data
			}
			return int64(len(data)), data
		}
	case *rejoined:
		if data, ok := b.whole(); ok && len(o.Trailer.fieldsOf()) == 0 {
			return int64(len(data)), data
		}
	}
	if o.ContentLength == 0 {
		return 0, nil
	}
	t.stream = true
	return o.ContentLength, nil
}

// catch takes the bytes of a bytes.Reader without copying them.
type catch struct{ b []byte }

func (c *catch) Write(p []byte) (int, error) {
	c.b = p
	return len(p), nil
}

// peekReader returns what r would read next, all of it, and leaves r as it is.
func peekReader(r *bytes.Reader) []byte {
	var c catch
	n, _ := r.WriteTo(&c) // catch does not fail
	_, _ = r.Seek(-n, io.SeekCurrent)
	return c.b
}

// appendTarget appends a request target, percent-encoding what would end it.
func appendTarget(b []byte, s string) []byte {
	if s == "" {
		return append(b, '/')
	}
	if all(s, inTarget) {
		return append(b, s...)
	}
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if classes[c]&inTarget != 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// appendHost appends a host without what cannot be in one.
func appendHost(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; classes[c]&inHost != 0 || c == ':' || c == '[' || c == ']' {
			b = append(b, c)
		}
	}
	return b
}

// appendClean appends a value without the characters that must not be in one.
func appendClean(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c >= 0x20 && c != 0x7f {
			b = append(b, c)
		}
	}
	return b
}
