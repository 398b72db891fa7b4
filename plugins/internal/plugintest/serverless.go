package plugintest

import (
	"encoding/json"
	"slices"
	"testing"

	"sluice/plugins"
)

// Serverless tests a plugin that runs functions of its configuration in one phase.
func Serverless(t *testing.T, spec *plugins.Spec) {
	t.Run("phases", func(t *testing.T) { serverlessPhases(t, spec) })
	t.Run("reply", func(t *testing.T) {
		p := Build(t, spec, Env(), `{"functions":["return function() end",
			"return function(conf, ctx) return 403, {phase = conf.phase} end","return function() error('unreachable') end"]}`)
		rep, err := p.Access(Request("GET", "/"))
		if err != nil || rep == nil || rep.Status != 403 {
			t.Fatalf("got %+v, %v", rep, err)
		}
		if body, err := json.Marshal(rep.Body); err != nil || string(body) != `{"phase":"access"}` {
			t.Errorf("%s, %v", body, err)
		}
	})
	for conf, want := range map[string]string{
		`{"functions":["local a = 123;"]}`: "only accept Lua function, the input code type is nil",
		`{"functions":["a"]}`:              `failed to loadstring: [string "a"]:1: '=' expected near '<eof>'`,
		`{"functions":["error('x', 0)"]}`:  "pcall error: x",
	} {
		if _, err := Try(spec, Env(), conf); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", conf, err, want)
		}
	}
}

func serverlessPhases(t *testing.T, spec *plugins.Spec) {
	for phase, want := range map[string][]string{
		"rewrite": {"rewrite"}, "access": {"access"}, "before_proxy": {"before_proxy"}, "header_filter": {"header_filter"},
		"body_filter": {"header_filter", "body_filter"}, // the length is not known any more
		"log":         {"log"},
	} {
		p := Build(t, spec, Env(), `{"phase":"`+phase+`","functions":["return function() end"]}`)
		for name, there := range map[string]bool{"rewrite": p.Rewrite != nil, "access": p.Access != nil, "before_proxy": p.BeforeProxy != nil,
			"header_filter": p.HeaderFilter != nil, "body_filter": p.BodyFilter != nil, "log": p.Log != nil} {
			if there != slices.Contains(want, name) {
				t.Errorf("phase %s: %s is there: %v", phase, name, there)
			}
		}
	}
}
