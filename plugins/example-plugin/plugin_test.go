package exampleplugin

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestUpstream(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"i": 1, "ip": "127.0.0.1", "port": 1981}`)
	c := plugintest.Request("GET", "/")
	if r, err := p.Access(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if up := c.Upstream(); up == nil || up.Def().Nodes[0].Port != 1981 {
		t.Errorf("upstream %v", up)
	}
}

func TestNothingToDo(t *testing.T) {
	if p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"i": 0, "s": "x", "t": [1]}`); p.Access != nil {
		t.Error("acts without an ip")
	}
}

func TestSchema(t *testing.T) {
	for _, conf := range []string{`{}`, `{"i": -1}`, `{"i": 1, "t": []}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Errorf("%s is accepted", conf)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"i": 1, "ip": "127.0.0.1", "port": 1981}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
