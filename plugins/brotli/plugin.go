// Package brotli compresses response bodies for clients that understand brotli.
package brotli

import (
	_ "embed"

	"github.com/andybalholm/brotli"

	"sluice/plugins"
	"sluice/plugins/internal/coding"
)

//go:embed schema.json
var schema string

// Plugin is brotli.
var Plugin = plugins.Spec{
	Name:     "brotli",
	Priority: 996,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	coding.Options
	Mode    int `json:"mode"`
	Level   int `json:"comp_level"`
	LGWin   int `json:"lgwin"`
	LGBlock int `json:"lgblock"`
}

type compression struct {
	config
	streams *coding.Streams
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	b := &compression{*c, coding.NewStreams(func() coding.Compressor {
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: c.Level, LGWin: c.LGWin})
	})}
	return plugins.Phases{DelayedHeader: b.header, DelayedBody: b.streams.Filter, Log: b.streams.End}, nil
}

// header comes late, so that other plugins see the body and its header as they are.
func (b *compression) header(c *plugins.Ctx) error {
	h := &c.Resp.Header
	if c.Req.Method == "HEAD" || h.Has("Content-Encoding") || !b.Fits(c) ||
		!coding.Accepted(c.Req.Header.Get("Accept-Encoding"), "br", true) {
		return nil
	}
	if b.Vary {
		h.Add("Vary", "Accept-Encoding")
	}
	coding.Announce(c, "br")
	b.streams.Begin(c)
	return nil
}
