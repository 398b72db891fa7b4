// Package coding holds what plugins that compress response bodies have in
// common: which responses, for which clients, and how a body passes through a
// compressor piece by piece.
//
// It does not know any compression.
package coding

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"

	"sluice/plugins"
)

// Options say which responses are compressed.
type Options struct {
	Types       Types   `json:"types"`
	MinLength   int64   `json:"min_length"`
	HTTPVersion float64 `json:"http_version"`
	Vary        bool    `json:"vary"`
}

// Types are media types in lower case; nil stands for all.
type Types []string

// UnmarshalJSON reads a list, or "*".
func (t *Types) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*t = nil
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// Fits reports whether a response is one to compress, by its type and length
// and the version of the client.
func (o *Options) Fits(c *plugins.Ctx) bool {
	kind := c.Resp.Header.Get("Content-Type")
	if kind == "" {
		return false // as nginx has it
	}
	if o.Types != nil && !o.has(kind) {
		return false
	}
	if n := c.Resp.ContentLength; n >= 0 && n < o.MinLength {
		return false
	}
	return float64(c.Req.Major)+float64(c.Req.Minor)/10 >= o.HTTPVersion-0.01
}

func (o *Options) has(kind string) bool {
	kind, _, _ = strings.Cut(kind, ";")
	for _, t := range o.Types {
		if t == kind {
			return true
		}
	}
	return false
}

// Announce makes a response's header that of a body in a content coding.
func Announce(c *plugins.Ctx, coding string) {
	h := &c.Resp.Header
	h.Set("Content-Encoding", coding)
	h.Del("Content-Length")
	h.Del("Accept-Ranges")
	c.Resp.ContentLength = -1
	tag, ok := h.Lookup("ETag")
	strong, weak := strings.CutPrefix(tag, "W/")
	switch {
	case !ok:
	case len(strong) < 2 || strings.IndexByte(strong[1:], '"') != len(strong)-2 || strong[0] != '"':
		h.Del("ETag") // it cannot be made a weak one
	case !weak:
		h.Set("ETag", c.Keep(append(append(c.Scratch(), "W/"...), tag...)))
	}
}

// Accepted reports whether an Accept-Encoding has coding, or "*" when that
// counts, with a weight above 0.
func Accepted(field, coding string, star bool) bool {
	for field != "" {
		var item string
		item, field, _ = strings.Cut(field, ",")
		name, weight, weighted := strings.Cut(item, ";")
		name = strings.TrimSpace(name)
		if !strings.EqualFold(name, coding) && (!star || name != "*") {
			continue
		}
		if !weighted || positive(weight) {
			return true
		}
	}
	return false
}

// positive reads "q=0.5".
func positive(weight string) bool {
	q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
	return !ok || strings.Trim(q, "0.") != ""
}

// Compressor is a writer that can be used again.
type Compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// Streams makes the streams of an instance and keeps those that are done with
// for later requests.
type Streams struct{ pool sync.Pool }

// NewStreams returns Streams over compressors made by mk.
func NewStreams(mk func() Compressor) *Streams {
	return &Streams{sync.Pool{New: func() any {
		s := &stream{w: mk()}
		s.w.Reset(&s.out)
		return s
	}}}
}

// stream is the body of one response on its way through a compressor.
type stream struct {
	w   Compressor
	out bytes.Buffer
}

// Begin decides that the body of this request's response is compressed.
func (s *Streams) Begin(c *plugins.Ctx) { c.SetValue(s, s.pool.Get()) }

// Filter is a plugins.BodyFunc: each piece can be read by the client as soon
// as it has arrived.
func (s *Streams) Filter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	t, ok := c.Value(s).(*stream)
	if !ok {
		return piece, nil
	}
	t.out.Reset()
	if len(piece) > 0 {
		if _, err := t.w.Write(piece); err != nil {
			return nil, err
		}
	}
	var err error
	switch {
	case last:
		err = t.w.Close()
	case len(piece) > 0:
		err = t.w.Flush()
	}
	return t.out.Bytes(), err
}

// maxKept is how large a buffer may be that is kept for later requests.
const maxKept = 256 << 10

// End is for the log phase: the response is sent.
func (s *Streams) End(c *plugins.Ctx) {
	t, ok := c.Value(s).(*stream)
	if !ok {
		return
	}
	c.SetValue(s, nil)
	if t.out.Cap() > maxKept {
		t.out = bytes.Buffer{}
	}
	t.w.Reset(&t.out)
	s.pool.Put(t)
}
