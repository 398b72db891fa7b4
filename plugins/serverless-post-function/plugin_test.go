package serverlesspostfunction

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestPhases(t *testing.T) {
	for _, phase := range []string{"rewrite", "access", "before_proxy", "header_filter", "body_filter", "log"} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"phase":"`+phase+`","functions":["return function() end"]}`)
		for name, there := range map[string]bool{"rewrite": p.Rewrite != nil, "access": p.Access != nil,
			"before_proxy": p.BeforeProxy != nil, "body_filter": p.BodyFilter != nil, "log": p.Log != nil} {
			if there != (name == phase) {
				t.Errorf("phase %s: %s is there: %v", phase, name, there)
			}
		}
	}
}

func TestReply(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(),
		`{"functions":["return function() end","return function(conf, ctx) return 403, {phase = conf.phase} end","return function() error('unreachable') end"]}`)
	rep, err := p.Access(plugintest.Request("GET", "/"))
	if err != nil || rep == nil || rep.Status != 403 {
		t.Fatalf("got %+v, %v", rep, err)
	}
}

func TestRefused(t *testing.T) {
	for conf, want := range map[string]string{
		`{"functions":["local a = 123;"]}`: "only accept Lua function, the input code type is nil",
		`{"functions":["a"]}`:              `failed to loadstring: [string "a"]:1: '=' expected near '<eof>'`,
		`{"functions":["error('x', 0)"]}`:  "pcall error: x",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", conf, err, want)
		}
	}
}
