package yaml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// write replaces a file in one step, so that a reader sees all or nothing.
func write(t *testing.T, path, text string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func environment(name string) (string, bool) {
	v, ok := map[string]string{"HOST": "a.com", "PORT": "8080", "ON": "true", "EMPTY": ""}[name]
	return v, ok
}

func source(path string) *Source { return New(path, Every(time.Millisecond), Env(environment)) }

const twoRoutes = `
routes:
  - id: 1
    uri: /a
    name: one
    upstream: {nodes: {"127.0.0.1:1980": 1}}
  - uri: /b
    name: two
    plugins: {}
    priority: 0x10
#END
`

func TestFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "apisix.yaml")
	f := contract.Follow(t, source(path))
	f.Await("an error", func(_ *configcenter.Snapshot, full int, errs []error) bool {
		return full == 0 && len(errs) == 1 && strings.HasPrefix(errs[0].Error(), "failed to fetch "+path+" attributes: ")
	})
	write(t, path, twoRoutes)
	f.AwaitRoute("1", "one")
	f.AwaitRoute("arr_2", "two")
	write(t, path, strings.Replace(twoRoutes, "#END", "", 1))
	f.Await("a missing end", func(_ *configcenter.Snapshot, _ int, errs []error) bool {
		return len(errs) == 2 && strings.HasSuffix(errs[1].Error(), "missing valid end flag in file "+path)
	})
	f.AwaitLen(2)
	write(t, path, strings.Replace(twoRoutes, "name: two", "name: three", 1))
	f.AwaitRoute("arr_2", "three")
	write(t, path, "routes: []\n#END")
	f.AwaitLen(0)
}

func TestUnchangedRoutesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "apisix.yaml")
	write(t, path, twoRoutes)
	f := contract.Follow(t, source(path))
	var before, after *configcenter.Item
	f.Await("one", func(s *configcenter.Snapshot, _ int, _ []error) bool {
		before = s.Get(resource.Routes, "1")
		return before != nil
	})
	write(t, path, strings.Replace(twoRoutes, "name: two", "name: three", 1))
	f.AwaitRoute("arr_2", "three")
	f.Await("one", func(s *configcenter.Snapshot, _ int, _ []error) bool {
		after = s.Get(resource.Routes, "1")
		return true
	})
	if before.Value != after.Value {
		t.Error("a route that did not change was decoded again")
	}
}

func TestBadObjectsAreLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "apisix.yaml")
	write(t, path, "routes:\n  - {id: 1, uri: 5}\n  - {id: 2, uri: /b, plugins: {}}\n  - text\n#END\n")
	f := contract.Follow(t, source(path))
	f.AwaitLen(1)
	f.Await("problems", func(s *configcenter.Snapshot, _ int, _ []error) bool {
		p := s.Problems()
		return len(p) == 2 && strings.Contains(p[0].Err.Error(), `failed to check item data of [/routes/1] err:property "uri"`) &&
			strings.Contains(p[1].Err.Error(), `invalid item data of [/routes/arr_3], val: "text", it should be an object`)
	})
}

func TestVariables(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": `
routes:
  - id: ${{ PORT }}
    uri: /${{MISSING:= x }}/${{EMPTY}}
    host: "${{HOST}}"
    enable_websocket: ${{ON}}
    desc: "${{PORT}}"
    plugins: {}
#END`,
		"a.json": `{"routes": [{"id": "${{PORT}}", "uri": "/${{MISSING:= x }}/${{EMPTY}}", "host": "${{HOST}}",
			"enable_websocket": "${{ON}}", "desc": "8080", "plugins": {}}]}`,
	} {
		path := filepath.Join(dir, name)
		write(t, path, text)
		f := contract.Follow(t, source(path))
		f.Await(name, func(s *configcenter.Snapshot, _ int, errs []error) bool {
			for _, p := range s.Problems() {
				t.Fatal(p.Err)
			}
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			item := s.Get(resource.Routes, "8080")
			if item == nil {
				return false
			}
			r := item.Value.(*resource.Route)
			if r.URI != "/x/" || r.Host != "a.com" || r.EnableWebsocket == nil || !*r.EnableWebsocket || r.Desc != "8080" {
				t.Errorf("%s: %+v", name, r)
			}
			return true
		})
	}
	write(t, filepath.Join(dir, "b.yaml"), "a: ${{NONE}}\n#END")
	_, err := source(filepath.Join(dir, "b.yaml")).read(1)
	if err == nil || !strings.Contains(err.Error(), "failed to handle configuration: can't find environment variable NONE") {
		t.Error(err)
	}
}

func TestObjects(t *testing.T) {
	doc, err := DecodeYAML([]byte(`
routes: [{id: 1, uri: /a, modifiedIndex: 42}, {id: 1, uri: /b}]
consumers: [{username: bob}, {id: bob/credentials/c, plugins: {}}]
secrets: [{id: vault/1, uri: "http://v", prefix: kv, token: t}]
plugin_metadata: [{id: syslog, host: h}]
plugins: [{name: a}, {name: b, stream: true}]
services: {}
upstreams:
other: 7
`))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := Objects(doc, 9)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, string(c.Kind)+" "+c.ID+" "+string(c.Value))
	}
	want := []string{
		`routes 1 {"id":1,"uri":"/b"}`,
		`consumers bob {"username":"bob"}`,
		`credentials bob/credentials/c {"id":"bob/credentials/c","plugins":{}}`,
		`plugin_metadata syslog {"host":"h","id":"syslog"}`,
		`secrets vault/1 {"id":"vault/1","prefix":"kv","token":"t","uri":"http://v"}`,
		`plugins  [{"name":"a"},{"name":"b","stream":true}]`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, bad := range []string{`routes: 7`, `[1]`, `routes: [{id: 1, modifiedIndex: 1.5}]`} {
		doc, err := DecodeYAML([]byte(bad))
		if err == nil {
			_, err = Objects(doc, 1)
		}
		if err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	one, err := Objects(map[string]any{"routes": []any{map[string]any{"id": "1", "modifiedIndex": 7}}}, 1)
	if err != nil || len(one) != 1 {
		t.Errorf("%v, %v", one, err)
	}
}

func TestDecodeYAML(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: 1.5\nc: yes\nd: true\ne: ~\nf: 2001-01-01\ng: '1'\n1: x": `{"1":"x","a":1,"b":1.5,"c":"yes","d":true,"e":null,"f":"2001-01-01","g":"1"}`,
		"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}":                            `{"x":{"a":1,"b":2},"y":{"a":1,"b":3}}`,
		"a: 99999999999999999999":                                          `{"a":100000000000000000000}`,
		"- 0o17\n- 1_000":                                                  `[15,1000]`,
	} {
		doc, err := DecodeYAML([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := schema.Encode(doc); err != nil || string(got) != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+p+",", 9), ",") + "]\n"
	}
	for _, bad := range []string{"a: 1\na: 2", "a: [", "a: .nan", "{[1]: 2}", bomb, "a: &a [*a]", strings.Repeat("[", 300) + strings.Repeat("]", 300)} {
		if doc, err := DecodeYAML([]byte(bad)); err == nil {
			t.Errorf("%.40q was taken: %v", bad, doc)
		}
	}
}
