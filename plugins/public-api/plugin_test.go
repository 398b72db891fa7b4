package publicapi

import (
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestAccess(t *testing.T) {
	env := plugintest.Env()
	env.APIs = func() []plugins.API {
		serve := func(name string) func(*plugins.Ctx) (*plugins.Reply, error) {
			return func(*plugins.Ctx) (*plugins.Reply, error) { return plugins.Exit(200, name), nil }
		}
		return []plugins.API{
			{Methods: []string{"GET"}, Path: "/exact", Serve: serve("exact")},
			{Path: "/tree/*", Serve: serve("tree")},
		}
	}
	for _, x := range []struct {
		conf, method, path string
		body               any // nil: 404
	}{
		{`{}`, "GET", "/exact", "exact"},
		{`{}`, "POST", "/exact", nil},
		{`{}`, "GET", "/exactly", nil},
		{`{}`, "POST", "/tree/a", "tree"},
		{`{"uri":"/exact"}`, "GET", "/other", "exact"},
		{`{"uri":"/none"}`, "GET", "/exact", nil},
	} {
		p := plugintest.Build(t, &Plugin, env, x.conf)
		r, err := p.Access(plugintest.Request(x.method, x.path))
		if err != nil || r == nil {
			t.Fatal(r, err)
		}
		want := 200
		if x.body == nil {
			want = 404
		}
		if r.Status != want || r.Body != x.body {
			t.Errorf("%s %s with %s: %+v", x.method, x.path, x.conf, r)
		}
	}
}
