package multiauth

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// asks is an authenticating plugin that lets in who has a header field of its
// name with the value "yes", fails at "error", and counts its instances.
func asks(name string, alive *int) *plugins.Spec {
	return &plugins.Spec{
		Name: name, Auth: true, Schema: `{"type":"object","properties":{"realm":{"type":"string","default":"r"}}}`,
		New: func(json.RawMessage, *plugins.Env) (plugins.Phases, error) {
			*alive++
			return plugins.Phases{
				Rewrite: func(c *plugins.Ctx) (*plugins.Reply, error) {
					switch c.Req.Header.Get(name) {
					case "yes":
						c.SetVar("let_in_by", name)
						return nil, nil
					case "error":
						return nil, errors.New("broken")
					}
					c.RespHeader.Set("WWW-Authenticate", name)
					return plugins.Exit(401, plugins.Message{Message: "no"}), nil
				},
				Close: func() { *alive-- },
			}, nil
		},
	}
}

func env(alive *int) *plugins.Env {
	plain := &plugins.Spec{Name: "cors", Schema: `{"type":"object"}`, New: func(json.RawMessage, *plugins.Env) (plugins.Phases, error) {
		return plugins.Phases{}, nil
	}}
	idle := *plain
	idle.Name, idle.Auth = "idle-auth", true
	reg := plugins.Registry{"a-auth": asks("a-auth", alive), "b-auth": asks("b-auth", alive), "cors": plain, "idle-auth": &idle, "multi-auth": &Plugin}
	return plugintest.With(plugintest.Env(), reg)
}

const both = `{"auth_plugins":[{"a-auth":{}},{"b-auth":{}}]}`

func TestRewrite(t *testing.T) {
	alive := 0
	for _, x := range []struct {
		fields    []string
		by        string // "" for refused
		challenge string
	}{
		{[]string{"a-auth: yes"}, "a-auth", ""},
		{[]string{"b-auth: yes"}, "b-auth", ""},
		{[]string{"a-auth: yes", "b-auth: yes"}, "a-auth", ""},
		{[]string{"a-auth: yes", "b-auth: error"}, "a-auth", ""},
		{nil, "", "b-auth"},
	} {
		p := plugintest.Build(t, &Plugin, env(&alive), both)
		c := plugintest.Request("GET", "/", x.fields...)
		r, err := p.Rewrite(c)
		if err != nil {
			t.Fatal(err)
		}
		if x.by == "" {
			if r == nil || r.Status != 401 || r.Body != (plugins.Message{Message: "Authorization Failed"}) {
				t.Errorf("%v: %+v", x.fields, r)
			}
		} else if r != nil || c.Var("let_in_by") != x.by {
			t.Errorf("%v: %+v, let in by %q", x.fields, r, c.Var("let_in_by"))
		}
		if got := c.RespHeader.Get("WWW-Authenticate"); got != x.challenge {
			t.Errorf("%v: challenge %q", x.fields, got)
		}
	}
	p := plugintest.Build(t, &Plugin, env(&alive), both)
	if r, err := p.Rewrite(plugintest.Request("GET", "/", "a-auth: error")); r != nil || err == nil {
		t.Error("a failure of ours let somebody in or was kept quiet", r, err)
	}
}

func TestConfiguration(t *testing.T) {
	alive := 0
	for conf, want := range map[string]string{
		`{}`:                               `property "auth_plugins" is required`,
		`{"auth_plugins":[{"a-auth":{}}]}`: `property "auth_plugins" validation failed: expect array to have at least 2 items`,
		`{"auth_plugins":[{"a-auth":{}},{"x":{}}]}`:                    "x plugin did not found",
		`{"auth_plugins":[{"a-auth":{}},{"cors":{}}]}`:                 "cors plugin is not supported",
		`{"auth_plugins":[{"a-auth":{}},{"idle-auth":{}}]}`:            "idle-auth plugin is not supported",
		`{"auth_plugins":[{"a-auth":{}},{"multi-auth":` + both + `}]}`: "multi-auth plugin is not supported",
		`{"auth_plugins":[{"a-auth":{}},{"b-auth":"blah"}]}`:           "plugin b-auth check schema failed: wrong type: expected object, got string",
		`{"auth_plugins":[{"a-auth":{}},{"b-auth":{"realm":1}}]}`:      `plugin b-auth check schema failed: property "realm" validation failed: wrong type: expected string, got number`,
		`{"auth_plugins":[{"a-auth":{}},1]}`:                           "cannot unmarshal",
	} {
		if _, err := plugintest.Try(&Plugin, env(&alive), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
	p, err := plugintest.Try(&Plugin, env(&alive), both)
	if err != nil || alive != 2 {
		t.Fatalf("%v, %d instances", err, alive)
	}
	p.Close()
	if alive != 0 {
		t.Errorf("%d instances are left", alive)
	}
}

func BenchmarkRewrite(b *testing.B) {
	alive := 0
	p := plugintest.Build(b, &Plugin, env(&alive), both)
	c := plugintest.Request("GET", "/", "a-auth: yes")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
