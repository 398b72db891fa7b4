package bodytransformer

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestAccess(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"message": "hello"}`)
	c := plugintest.Request("GET", "/")
	if r, err := p.Access(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if got := c.RespHeader.Get("X-Message"); got != "hello" {
		t.Errorf("X-Message %q", got)
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"message": "hello"}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
