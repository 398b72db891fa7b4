package workflow

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// stand-in for the plugins that can be actions: it says what it was built of.
type built struct {
	confs          []string
	closed, logged int
}

func (b *built) env() *plugins.Env {
	env := plugintest.Env()
	env.Build = func(name string, conf json.RawMessage) (plugins.Phases, error) {
		if strings.Contains(string(conf), "bad") {
			return plugins.Phases{}, errors.New("failed to check the configuration of plugin " + name + " err: it is bad")
		}
		b.confs = append(b.confs, string(conf))
		return plugins.Phases{
			Access: func(*plugins.Ctx) (*plugins.Reply, error) { return plugins.Exit(429, string(conf)), nil },
			Log:    func(*plugins.Ctx) { b.logged++ },
			Close:  func() { b.closed++ },
		}, nil
	}
	return env
}

func TestReturn(t *testing.T) {
	const conf = `{"rules":[
		{"case":[["uri","==","/a"]],"actions":[["return",{"code":403}],["return",{"code":500}]]},
		{"case":["OR",["uri","==","/b"],["uri","==","/c"]],"actions":[["return",{"code":404}]]},
		{"case":[["uri","==","/d"]],"actions":[]},
		{"case":[["arg_all","==","1"]],"actions":[["return",{"code":410}]]}]}`
	p := plugintest.Build(t, &Plugin, plugintest.Env(), conf)
	for target, status := range map[string]int{"/a": 403, "/b": 404, "/c": 404, "/d": 0, "/e": 0, "/e?all=1": 410} {
		r, err := p.Access(plugintest.Request("GET", target))
		if err != nil || (r == nil) != (status == 0) || r != nil && (r.Status != status || r.Body != plugins.ErrorMsg{ErrorMsg: "rejected by workflow"}) {
			t.Error(target, r, err)
		}
	}
	if p.Log != nil {
		t.Error("a log phase for nothing")
	}
}

func TestPlugin(t *testing.T) {
	var b built
	p, err := plugintest.Try(&Plugin, b.env(), `{"rules":[
		{"case":[["uri","==","/a"]],"actions":[["limit-count",{"count":1}]]},
		{"actions":[["limit-count",{"count":1}]]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.confs) != 2 || b.confs[0] == b.confs[1] {
		t.Errorf("rules share what they are built of: %q", b.confs)
	}
	ran := 0
	chain := plugins.NewChain([]*plugins.Instance{
		{Spec: &Plugin, Priority: 2, Phases: p},
		{Spec: &plugins.Spec{Name: "limit-count"}, Priority: 1, Phases: plugins.Phases{
			Access: func(*plugins.Ctx) (*plugins.Reply, error) { ran++; return nil, nil }, Log: func(*plugins.Ctx) { ran++ }}},
	}, nil)
	c := plugintest.Request("GET", "/a")
	r, err := chain.Access(c)
	if err != nil || r == nil || r.Body != b.confs[0] {
		t.Error(r, err)
	}
	chain.Log(c)
	if b.logged != 1 || ran != 0 {
		t.Errorf("logged %d, the plugin beside ran %d times", b.logged, ran)
	}
	c = plugintest.Request("GET", "/a") // answered before workflow: nothing began
	chain.Log(c)
	if b.logged != 1 || ran != 1 {
		t.Errorf("logged %d, the plugin beside ran %d times", b.logged, ran)
	}
	if p.Close(); b.closed != 2 {
		t.Errorf("%d of 2 are closed", b.closed)
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                                            `property "rules" is required`,
		`{"rules":[{}]}`:                                                `property "actions" is required`,
		`{"rules":[{"actions":[[]]}]}`:                                  "expect array to have at least 1 items",
		`{"rules":[{"case":[],"actions":[]}]}`:                          "expect array to have at least 1 items",
		`{"rules":[{"actions":[["fake",{}]]}]}`:                         "unsupported action: fake",
		`{"rules":[{"actions":[[7]]}]}`:                                 "unsupported action: 7",
		`{"rules":[{"actions":[["key-auth",{}]]}]}`:                     "unsupported action: key-auth",
		`{"rules":[{"actions":[["return",{"status":403}]]}]}`:           `failed to validate the 'return' action: property "code" is required`,
		`{"rules":[{"actions":[["return"]]}]}`:                          `failed to validate the 'return' action: property "code" is required`,
		`{"rules":[{"actions":[["return",{"code":"403"}]]}]}`:           "wrong type: expected integer, got string",
		`{"rules":[{"case":[["a","no","b"]],"actions":[]}]}`:            "failed to validate the 'case' expression: ",
		`{"rules":[{"actions":[["limit-count",{"group":"g"}]]}]}`:       "failed to validate the 'limit-count' action: group is not supported",
		`{"rules":[{"actions":[["limit-count",{"bad":1}]]}]}`:           "failed to validate the 'limit-count' action: it is bad",
		`{"rules":[{"actions":[["limit-count",7]]}]}`:                   "failed to validate the 'limit-count' action: invalid plugin conf 7",
		`{"rules":[{"actions":[["limit-count",{}],["fake",{"x":1}]]}]}`: "unsupported action: fake",
	} {
		var b built
		_, err := plugintest.Try(&Plugin, b.env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
		if b.closed != len(b.confs) {
			t.Errorf("%s: %d built, %d closed", conf, len(b.confs), b.closed)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"rules":[{"case":[["arg_a","==","1"]],"actions":[["return",{"code":403}]]}]}`)
	c := plugintest.Request("GET", "/?a=1")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r == nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
