package zipkin

import (
	"errors"
	"math/rand/v2"
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// inbound is what a client says of its trace. trace is "" when there is none.
type inbound struct {
	trace, span, parent string
	sampled             string
	debug               bool
}

// extract reads the fields of B3, the single one first, which is taken out:
// the upstream gets the several ones. Ids of a wrong form begin a new trace.
func extract(c *plugins.Ctx) (inbound, error) {
	h := &c.Req.Header
	in := inbound{debug: h.Get("X-B3-Flags") == "1"}
	if b3, ok := h.Lookup("b3"); ok {
		h.Del("b3")
		if err := in.single(b3); err != nil {
			return in, err
		}
		if in.sampled == "d" {
			h.Set("X-B3-Flags", "1")
			in.sampled = "1"
		}
	} else {
		in.sampled, in.trace = h.Get("X-B3-Sampled"), h.Get("X-B3-TraceId")
		in.parent, in.span = h.Get("X-B3-ParentSpanId"), h.Get("X-B3-SpanId")
	}
	switch {
	case in.trace == "":
		in.span = ""
	case !isID(in.trace, 16, 32) || in.span != "" && !isID(in.span, 16, 16) || in.parent != "" && !isID(in.parent, 16, 16):
		c.Log().Warn("B3 header fields are invalid, ignored")
		in.trace, in.span = "", ""
	}
	in.trace, in.span = strings.ToLower(in.trace), strings.ToLower(in.span)
	return in, nil
}

// single reads trace-span[-sampled[-parent]], or "0".
func (in *inbound) single(b3 string) error {
	if b3 == "0" {
		in.sampled = "0"
		return nil
	}
	pieces := strings.SplitN(b3, "-", 4)
	if len(pieces) < 2 {
		return errors.New("missing span_id")
	}
	in.trace, in.span = pieces[0], pieces[1]
	if len(pieces) > 2 {
		in.sampled = pieces[2]
	}
	if len(pieces) > 3 {
		in.parent = pieces[3]
	}
	return nil
}

// isID reports whether s is as many hexadecimal digits.
func isID(s string, short, long int) bool {
	if len(s) != short && len(s) != long {
		return false
	}
	for i := range len(s) {
		b := s[i] | 0x20
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}

// newIDs is n ids behind each other, up to four, of 16 hexadecimal digits that
// are not all zero: one string for all ids of a request.
func newIDs(n int) string {
	const digits = "0123456789abcdef"
	var b [4 * 16]byte
	for i := range n {
		id := rand.Uint64() | 1
		for at := range 16 {
			b[16*i+at] = digits[id&15]
			id >>= 4
		}
	}
	return string(b[:16*n])
}

// inject writes what the upstream is told: to it, the span that called is the
// one that waits for its answer.
func (s *trace) inject(h *wire.Header) {
	span, parent, sampled := s.request, s.parent, "0"
	if s.sampled {
		span, parent, sampled = s.proxy, s.request, "1"
	}
	h.Set("X-B3-TraceId", s.id)
	h.Set("X-B3-SpanId", span)
	h.Set("X-B3-Sampled", sampled)
	if parent != "" {
		h.Set("X-B3-ParentSpanId", parent)
	} else {
		h.Del("X-B3-ParentSpanId")
	}
}
