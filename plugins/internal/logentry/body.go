package logentry

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/andybalholm/brotli"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// bodies is what is kept of the bodies of one request.
type bodies struct {
	request  []byte // its beginning, when it is not in memory anyway
	response []byte
	skip     bool // the response's is not wanted
	asked    bool // skip says so
	done     bool
}

func (l *Log) bodiesOf(c *plugins.Ctx) *bodies {
	b, _ := c.Value(l).(*bodies)
	if b == nil {
		b = new(bodies)
		c.SetValue(l, b)
	}
	return b
}

// readRequest is the access phase: it sees to it that the beginning of the
// request's body is there when the entry is made.
func (l *Log) readRequest(c *plugins.Ctx) (*plugins.Reply, error) {
	limit := int64(l.maxRequest)
	if _, ok := c.BufferedBody(); ok || c.Req.ContentLength == 0 {
		return nil, nil
	}
	_, err := c.Body(limit)
	if err == nil {
		return nil, nil
	}
	if tooLarge := (*plugins.BodyTooLargeError)(nil); !errors.As(err, &tooLarge) {
		return nil, nil // whoever sends the body upstream meets the error again
	}
	b := l.bodiesOf(c)
	b.request, err = io.ReadAll(io.LimitReader(c.Req.Body, limit))
	rest := c.Req.Body
	if err != nil {
		rest = failed{err}
	}
	c.Req.Body = wire.Rejoin(b.request, rest)
	return nil, nil
}

// failed is the rest of a body that broke off.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// requestBody is the body's beginning, or nothing.
func (l *Log) requestBody(c *plugins.Ctx) []byte {
	b, ok := c.BufferedBody()
	if !ok {
		kept, _ := c.Value(l).(*bodies)
		if kept == nil {
			return nil
		}
		b = kept.request
	}
	return b[:min(len(b), l.maxRequest)]
}

// readResponse is the body filter: it keeps the beginning of what passes.
func (l *Log) readResponse(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	b := l.bodiesOf(c)
	if !b.asked {
		b.asked = true
		b.skip = l.responseExpr != nil && !l.responseExpr.Eval(c)
	}
	if b.skip || b.done {
		return piece, nil
	}
	b.response = append(b.response, piece[:min(len(piece), l.maxResponse-len(b.response))]...)
	if last || len(b.response) >= l.maxResponse {
		b.done = true
		b.response = l.decode(c, b.response)
		c.SetVar("resp_body", string(b.response))
	}
	return piece, nil
}

// decode undoes the content encoding. What cannot be decoded stays: an encoding
// may also have been announced by a plugin that has yet to do it.
func (l *Log) decode(c *plugins.Ctx, body []byte) []byte {
	encoding := c.Resp.Header.Get("Content-Encoding")
	var src io.Reader
	switch encoding {
	case "":
		return body
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return body
		}
		src = z
	case "br":
		src = brotli.NewReader(bytes.NewReader(body))
	default:
		c.Log().Warn("unsupported compression encoding type: " + encoding)
		return body
	}
	plain, err := io.ReadAll(io.LimitReader(src, int64(l.maxResponse)))
	if err != nil && len(plain) == 0 {
		return body
	}
	return plain // of a body that was cut, as far as it goes
}
