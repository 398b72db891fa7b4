package filelogger

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a request that has ended.
func served(target string, status int) *plugins.Ctx {
	c := plugintest.Request("GET", target)
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	plugintest.Respond(c, status)
	return c
}

func TestLog(t *testing.T) {
	for name, test := range map[string]struct{ conf, want string }{
		"all":        {``, "/a 200,/b 500,"},
		"match":      {`,"match":[[["arg_x","==","1"]],[["status",">=",500]]]`, "/b 500,"},
		"none holds": {`,"match":[]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.log")
			p, err := plugintest.Try(&Plugin, plugintest.Env(), `{"path":"`+path+`","log_format":{"uri":"$request_uri","status":"$status"}`+test.conf+`}`)
			if err != nil {
				t.Fatal(err)
			}
			p.Log(served("/a", 200))
			p.Log(served("/b", 500))
			p.Close()
			text, err := os.ReadFile(path)
			if err != nil && test.want != "" {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				var e struct {
					URI    string
					Status json.Number
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				got.WriteString(e.URI + " " + e.Status.String() + ",")
			}
			if got.String() != test.want {
				t.Errorf("got %s, want %s", &got, test.want)
			}
		})
	}
}

func TestPathOfMetadata(t *testing.T) {
	env := plugintest.Env()
	const want = `property "path" is not set in either the plugin conf or the metadata`
	if _, err := plugintest.Try(&Plugin, env, `{}`); err == nil || err.Error() != want {
		t.Errorf("without a path: %v", err)
	}
	path := filepath.Join(t.TempDir(), "f.log")
	env.Metadata = json.RawMessage(`{"path":"` + path + `"}`)
	p, err := plugintest.Try(&Plugin, env, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/", 200))
	Reopen(env.Shared)
	p.Close()
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"path":1}`: `property "path" validation failed: wrong type: expected string, got number`,
		`{"path":"f","match":[[["a","<>","b"]]]}`:                "failed to validate the 'match' expression: ",
		`{"path":"f","include_resp_body_expr":[["a","<>","b"]]}`: "failed to validate the 'include_resp_body_expr' expression: ",
	})
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"path":"`+filepath.Join(b.TempDir(), "f.log")+`"}`)
	c := served("/hello", 200)
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}
