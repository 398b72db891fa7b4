package gzip

import (
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

var tested = plugintest.Coding{Plugin: &Plugin, Name: "gzip",
	Reader: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}

func TestRoundTrip(t *testing.T) { tested.RoundTrip(t) }

func TestStreaming(t *testing.T) { tested.Streams(t) }

func TestLeftAlone(t *testing.T) {
	tested.LeavesAlone(t, map[string]func(*plugins.Ctx){
		"another status":  func(c *plugins.Ctx) { c.Resp.Status = 206 },
		"a proxy between": func(c *plugins.Ctx) { c.Req.Header.Set("Via", "1.1 x") },
	})
}

func TestConfiguration(t *testing.T) {
	for _, conf := range []string{`{"types":[]}`, `{"types":"text/html"}`, `{"comp_level":12}`, `{"http_version":2}`, `{"min_length":0}`, `{"vary":1}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Error(conf)
		}
	}
	plugintest.Build(t, &Plugin, plugintest.Env(), `{"types":"*","comp_level":9,"http_version":1.0,"min_length":1}`)
}

func BenchmarkBody(b *testing.B) { tested.Benchmark(b) }
