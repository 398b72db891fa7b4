package wire

// chunkState is where a chunked body is.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

const (
	maxChunkExt = 4 << 10  // of all chunks of 16 KiB data together
	maxTrailer  = 16 << 10 // bytes of a trailer section
)

// chunkReader takes chunked framing apart, piece by piece. The zero value is
// at the start of a body.
type chunkReader struct {
	state  chunkState
	digits int8
	left   int64 // of the current chunk
	ext    int   // extension bytes not yet paid for by data
	trail  []byte
}

// next returns the next data in in (pointing into it) and how many bytes of in
// are used up. Without data and with all of in used it needs more, unless the
// state is chunkDone. The trailer goes to tr.
func (c *chunkReader) next(in []byte, tr *Header) (data []byte, used int, err error) {
	for used < len(in) && c.state != chunkDone {
		if c.state == chunkData {
			n := int(min(int64(len(in)-used), c.left))
			c.left -= int64(n)
			c.ext = max(0, c.ext-n/4)
			if c.left == 0 {
				c.state = chunkDataCR
			}
			return in[used : used+n], used + n, nil
		}
		if c.state == chunkTrailer {
			n, err := c.trailer(in[used:], tr)
			used += n
			if err != nil {
				return nil, used, err
			}
			continue
		}
		if err := c.step(in[used]); err != nil {
			return nil, used, err
		}
		used++
	}
	return nil, used, nil
}

// step takes one byte of framing.
func (c *chunkReader) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case chunkExt:
		if b == '\r' {
			c.state = chunkSizeLF
			return nil
		}
		if b < 0x20 && b != '\t' || b == 0x7f {
			return errChunk
		}
		if c.ext++; c.ext > maxChunkExt {
			return errChunkExt
		}
	case chunkSizeLF:
		if b != '\n' {
			return errChunk
		}
		c.digits = 0
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkTrailer
		}
	case chunkDataCR:
		if b != '\r' {
			return errChunk
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunk
		}
		c.state = chunkSize
	}
	return nil
}

func (c *chunkReader) size(b byte) error {
	if d := unhex(b); d < 16 {
		if c.digits++; c.digits > 15 {
			return errChunkSize
		}
		c.left = c.left<<4 | int64(d)
		return nil
	}
	if c.digits == 0 {
		return errChunk
	}
	c.ext += 2 // a body of tiny chunks is an attack too
	switch b {
	case '\r':
		c.state = chunkSizeLF
	case ';':
		c.state = chunkExt
	default:
		return errChunk
	}
	return nil
}

// trailer collects the trailer section until its empty line, then parses it.
func (c *chunkReader) trailer(in []byte, tr *Header) (int, error) {
	if len(c.trail) == 0 && len(in) >= 2 && in[0] == '\r' && in[1] == '\n' {
		c.state = chunkDone // none: the usual case
		return 2, nil
	}
	for i, b := range in {
		c.trail = append(c.trail, b)
		n := len(c.trail)
		if n > maxTrailer {
			return i, errTrailer
		}
		if b != '\n' {
			continue
		}
		if n < 2 || c.trail[n-2] != '\r' {
			return i, errBareLF
		}
		if n == 2 || n >= 4 && c.trail[n-3] == '\n' {
			c.state = chunkDone
			return i + 1, parseTrailer(c.trail, tr)
		}
	}
	return len(in), nil
}

// parseTrailer reads field lines into tr and drops those that must not stand
// in a trailer: framing, routing and credentials.
func parseTrailer(b []byte, tr *Header) error {
	for len(b) > 2 {
		name, value, n, v := field(b)
		if v != nil {
			return v
		}
		b = b[n:]
		if hop(name) == hopNone && !protected(name) {
			tr.fields = append(tr.fields, Field{Name: name, Value: value})
		}
	}
	return nil
}

// span walks a body that may be complete in in. It returns the length of the
// framed body, or 0 when it does not end there; size is that of the data.
func (c chunkReader) span(in []byte) (framed, size int, err error) {
	var tr Header
	c.trail = nil
	for framed < len(in) && c.state != chunkDone {
		data, used, err := c.next(in[framed:], &tr)
		if err != nil {
			return 0, 0, err
		}
		framed += used
		size += len(data)
	}
	if c.state != chunkDone {
		return 0, 0, nil
	}
	return framed, size, nil
}
