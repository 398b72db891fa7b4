// Package gzip compresses response bodies for clients that understand gzip.
package gzip

import (
	_ "embed"

	"github.com/klauspost/compress/gzip"

	"sluice/plugins"
	"sluice/plugins/internal/coding"
)

//go:embed schema.json
var schema string

// Plugin is gzip.
var Plugin = plugins.Spec{
	Name:     "gzip",
	Priority: 995,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	coding.Options
	Level   int     `json:"comp_level"`
	Buffers buffers `json:"buffers"`
}

// buffers are nginx's: a body passes here piece by piece as it comes.
type buffers struct {
	Number int `json:"number"`
	Size   int `json:"size"`
}

type compression struct {
	config
	streams *coding.Streams
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	if _, err := gzip.NewWriterLevel(nil, c.Level); err != nil {
		return plugins.Phases{}, err
	}
	z := &compression{*c, coding.NewStreams(func() coding.Compressor {
		w, _ := gzip.NewWriterLevel(nil, c.Level) // of a level that has just been tried
		return w
	})}
	return plugins.Phases{DelayedHeader: z.header, DelayedBody: z.streams.Filter, Log: z.streams.End}, nil
}

// header decides as nginx does; it comes late, so that other plugins see the
// body and its header as they are.
func (z *compression) header(c *plugins.Ctx) error {
	if !z.Fits(c) {
		return nil
	}
	if z.Vary {
		c.Resp.Header.Add("Vary", "Accept-Encoding")
	}
	switch c.Resp.Status {
	case 200, 403, 404:
	default:
		return nil
	}
	if c.Req.Method == "HEAD" || c.Resp.Header.Has("Content-Encoding") || c.Req.Header.Has("Via") ||
		!coding.Accepted(c.Req.Header.Get("Accept-Encoding"), "gzip", false) {
		return nil
	}
	coding.Announce(c, "gzip")
	z.streams.Begin(c)
	return nil
}
