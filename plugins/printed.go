package plugins

import (
	"bytes"
	"encoding/json"
	"io"
)

// printed is a response that was begun before anybody replied.
type printed struct {
	status int
	body   []byte
}

// Print adds b, which is copied, to a response that the gateway sends in the
// upstream's place once the phase is over. The first call sets its status; 0
// stands for 200.
func (c *Ctx) Print(status int, b []byte) {
	if c.printed == nil {
		if status == 0 {
			status = 200
		}
		c.printed = &printed{status: status}
	}
	c.printed.body = append(c.printed.body, b...)
}

// Printed takes what was printed and puts rep, which may be nil, behind it.
// When nothing was, it is rep.
func (c *Ctx) Printed(rep *Reply) *Reply {
	p := c.printed
	if p == nil {
		return rep
	}
	c.printed = nil
	out := &Reply{Status: p.status, Body: p.body}
	if rep == nil {
		return out
	}
	out.Header = rep.Header
	body := p.body
	switch b := rep.Body.(type) {
	case nil:
	case string:
		body = append(body, b...)
	case []byte:
		body = append(body, b...)
	case json.RawMessage:
		body = append(append(body, b...), '\n')
	case *Content:
		if b.Stream != nil {
			out.Body = &Content{Stream: behind{io.MultiReader(bytes.NewReader(body), b.Stream), b.Stream}, Length: int64(len(body)) + b.Length}
			return out
		}
		out.Body = &Content{Bytes: append(body, b.Bytes...)}
		return out
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.Log().Error("reply cannot be encoded", "err", err)
			break
		}
		body = append(append(body, text...), '\n')
	}
	out.Body = body
	return out
}

// behind is a body with a text in front.
type behind struct {
	io.Reader
	io.Closer
}
