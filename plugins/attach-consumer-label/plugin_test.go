package attachconsumerlabel

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/plugins/internal/plugintest"
)

const conf = `{"headers":{"X-Department":"$department","X-Role":"$role"}}`

func TestBeforeProxy(t *testing.T) {
	forged := []string{"x-department: root", "X_Department: root", "X-Role: root", "x-role: root", "Accept: */*"}
	for _, x := range []struct {
		name     string
		consumer bool
		labels   map[string]string
		want     string
	}{
		{"labels", true, map[string]string{"department": "devops", "company": "x"}, "Accept: */*\nX-Department: devops\n"},
		{"no labels", true, nil, "Accept: */*\n"},
		{"no consumer", false, nil, "Accept: */*\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), conf)
			c := plugintest.Request("GET", "/", forged...)
			if x.consumer {
				c.Consumer = plugintest.Consumer("jack", "", x.labels)
			}
			for range 2 { // a retry runs it again
				if r, err := p.BeforeProxy(c); r != nil || err != nil {
					t.Fatal(r, err)
				}
			}
			var got strings.Builder
			for name, value := range c.Req.Header.All() {
				got.WriteString(name + ": " + value + "\n")
			}
			if got.String() != x.want {
				t.Errorf("got\n%swant\n%s", got.String(), x.want)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{}`:                      `property "headers" is required`,
		`{"headers":{}}`:          `property "headers" validation failed: expect object to have at least 1 properties`,
		`{"headers":{"X-A":"a"}}`: `property "headers" validation failed: failed to validate additional property X-A: failed to match pattern "^\\$.*" with "a"`,
	})
}

// TestResolved: what a secret holds comes after the schema has been asked.
func TestResolved(t *testing.T) {
	p, err := Plugin.New(json.RawMessage(`{"headers":{"X-A":"","X-B":"$role"}}`), plugintest.Env())
	if err != nil {
		t.Fatal(err)
	}
	c := plugintest.Request("GET", "/", "X-A: root")
	c.Consumer = plugintest.Consumer("jack", "", map[string]string{"role": "x"})
	if r, err := p.BeforeProxy(c); r != nil || err != nil || c.Req.Header.Has("X-A") || c.Req.Header.Get("X-B") != "x" {
		t.Error(r, err, c.Req.Header)
	}
}

func BenchmarkBeforeProxy(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), conf)
	c := plugintest.Request("GET", "/", "User-Agent: test", "Accept: */*", "X-Consumer-Username: jack")
	c.Consumer = plugintest.Consumer("jack", "", map[string]string{"department": "devops", "role": "x"})
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.BeforeProxy(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
