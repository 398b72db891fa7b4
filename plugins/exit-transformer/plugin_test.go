package exittransformer

import (
	"encoding/json"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestExits(t *testing.T) {
	for _, x := range []struct {
		name, code string
		status     int
		body       string
	}{
		{"code", `local code, body, header = ... if code == 401 then return 402, body, header end return code, body, header`, 402, `{"message":"no"}`},
		{"body", `local code, body = ... return code, {message = body.message .. "!"}`, 401, `{"message":"no!"}`},
		{"text", `return 502, "changed"`, 502, `"changed"`},
		{"code alone", `return 405`, 405, `null`},
		{"fault", `local code = ... return code()`, 401, `{"message":"no"}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			conf, err := json.Marshal(config{[]string{x.code}})
			if err != nil {
				t.Fatal(err)
			}
			p := plugintest.Build(t, &Plugin, plugintest.Env(), string(conf))
			c := plugintest.Request("GET", "/")
			if rep, err := p.Rewrite(c); rep != nil || err != nil {
				t.Fatal(rep, err)
			}
			rep := c.Exits(plugins.Exit(401, plugins.Message{Message: "no"}))
			body, err := json.Marshal(rep.Body)
			if rep.Status != x.status || string(body) != x.body || err != nil {
				t.Errorf("got %d %s, want %d %s", rep.Status, body, x.status, x.body)
			}
		})
	}
	if _, err := plugintest.Try(&Plugin, plugintest.Env(), `{"functions":["if code == then return 405 end"]}`); err == nil {
		t.Error("a chunk that does not compile is taken")
	}
}
