package main

import (
	"strings"
	"testing"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/all"
)

// TestMasked: whoever can reach the control API sees no secret, however deep.
func TestMasked(t *testing.T) {
	catalog, _, err := plugins.NewCatalog(all.Registry(), []string{"traffic-split", "workflow", "limit-count", "csrf"})
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{catalog: catalog}
	for name, x := range map[string]struct {
		kind resource.Kind
		raw  string
	}{
		"of the upstream":         {resource.Upstreams, `{"tls":{"client_key":"hidden"},"shown":1}`},
		"of the route's upstream": {resource.Routes, `{"upstream":{"tls":{"client_key":"hidden"}},"shown":1}`},
		"that a schema names":     {resource.Routes, `{"plugins":{"csrf":{"key":"hidden","name":"shown"}}}`},
		"of an upstream in a plugin": {resource.Routes, `{"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream":{"tls":{"client_key":"hidden"}},"weight":1},
			{"upstream_id":"shown"}]}]}}}`},
		"of a plugin in a plugin": {resource.Routes, `{"plugins":{"workflow":{"rules":[{"case":[["uri","==","shown"]],"actions":[["limit-count",{"redis_password":"hidden"}]]}]}}}`},
	} {
		if got := string(p.masked(x.kind, "1", []byte(x.raw))); strings.Contains(got, "hidden") || !strings.Contains(got, "shown") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
