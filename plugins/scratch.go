package plugins

import "unsafe"

// Scratch returns an empty slice to append a short-lived text to; hand it to
// Keep, or forget it before the next call. The memory is the connection's, so
// numbers for header fields and keys of counters cost no allocation.
func (c *Ctx) Scratch() []byte {
	if cap(c.scratch)-len(c.scratch) < usualText {
		// Twice as much, so that the requests to come find enough in one piece.
		c.scratch = make([]byte, 0, min(max(8*usualText, 2*cap(c.scratch)), maxScratch))
	}
	return c.scratch[len(c.scratch):]
}

// usualText is what Scratch has room for at least, in bytes.
const usualText = 64

// Keep makes a string of what was appended to Scratch. It is valid until the
// request ends; b must not be changed after.
func (c *Ctx) Keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if n := len(c.scratch); cap(c.scratch)-n >= len(b) && unsafe.SliceData(b) == unsafe.SliceData(c.scratch[n:n+1]) {
		c.scratch = c.scratch[:n+len(b)]
	} else {
		c.scratch = b // it has grown: the next text goes behind it
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// maxScratch is how much memory a connection keeps for Scratch, in bytes.
const maxScratch = 16 << 10

// emptyScratch is the memory for the next request.
func (c *Ctx) emptyScratch() []byte {
	if cap(c.scratch) > maxScratch {
		return nil
	}
	return c.scratch[:0]
}
