// Package clientcontrol bounds the body that a client may send.
package clientcontrol

import (
	_ "embed"
	"errors"
	"fmt"
	"io"

	"sluice/gateway/wire"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is client-control.
var Plugin = plugins.Spec{
	Name:     "client-control",
	Priority: 22000,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	MaxBodySize int64 `json:"max_body_size"`
}

type control struct {
	max      int64
	tooLarge *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	if c.MaxBodySize == 0 {
		return plugins.Phases{}, nil
	}
	l := &control{c.MaxBodySize, plugins.Exit(413, nil)}
	return plugins.Phases{Rewrite: l.rewrite}, nil
}

// maxHeld is the longest body, in bytes, that is held in memory to learn its length.
const maxHeld = 64 << 20

// rewrite judges by the length that was announced. A body of unknown length is
// taken in up to the limit, or cut off there while it is passed on: where the
// limit is more than fits in memory, and with HTTP/2 and HTTP/3, where it may be
// an endless stream of messages.
func (l *control) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	r := c.Req
	if r.ContentLength > l.max {
		return l.tooLarge, nil
	}
	if r.ContentLength >= 0 || r.Upgrade != "" {
		return nil, nil
	}
	if r.Major > 1 || l.max > maxHeld {
		r.Body = &bounded{r.Body, l.max}
		return nil, nil
	}
	_, err := c.Body(l.max)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		return l.tooLarge, nil
	}
	return nil, err
}

// bounded fails when more than left bytes come.
type bounded struct {
	io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &wire.Error{Side: wire.Client, Kind: wire.TooLarge,
			Err: fmt.Errorf("body of the request is %d bytes too long", -b.left)}
	}
	return n, err
}
