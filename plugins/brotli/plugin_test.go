package brotli

import (
	"io"
	"testing"

	"github.com/andybalholm/brotli"

	"sluice/plugins/internal/plugintest"
)

var tested = plugintest.Coding{Plugin: &Plugin, Name: "br",
	Reader: func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }}

func TestRoundTrip(t *testing.T) { tested.RoundTrip(t) }

func TestStreaming(t *testing.T) { tested.Streams(t) }

func TestLeftAlone(t *testing.T) {
	tested.LeavesAlone(t, nil)
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
