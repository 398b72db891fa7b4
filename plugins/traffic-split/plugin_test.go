package trafficsplit

import (
	"fmt"
	"strings"
	"testing"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// chosen names the upstream of c: its id, the name of an inline one, or "" for
// the route's.
func chosen(c *plugins.Ctx) string {
	u, ok := c.Upstream().(plugintest.Upstream)
	switch {
	case !ok:
		return ""
	case u.Inline != nil:
		return u.Inline.Name
	}
	return u.ID
}

func TestMatch(t *testing.T) {
	const blue = `"weighted_upstreams":[{"upstream_id":"blue"}]`
	for _, x := range []struct{ name, conf, target, want string }{
		{"no rules", `{}`, "/", ""},
		{"empty rules", `{"rules":[]}`, "/", ""},
		{"always", `{"rules":[{` + blue + `}]}`, "/", "blue"},
		{"default", `{"rules":[{}]}`, "/", ""},
		{"number", `{"rules":[{"weighted_upstreams":[{"upstream_id":7}]}]}`, "/", "7"},
		{"inline", `{"rules":[{"weighted_upstreams":[{"upstream":{"name":"in","type":"roundrobin","nodes":{"127.0.0.1:1":1}}}]}]}`, "/", "in"},
		{"matches", `{"rules":[{"match":[{"vars":[["arg_a","==","1"]]}],` + blue + `}]}`, "/?a=1", "blue"},
		{"matches not", `{"rules":[{"match":[{"vars":[["arg_a","==","1"]]}],` + blue + `}]}`, "/?a=2", ""},
		{"second of two", `{"rules":[{"match":[{"vars":[["arg_a","==","1"]]},{"vars":[["arg_a","==","2"]]}],` + blue + `}]}`, "/?a=2", "blue"},
		{"second rule", `{"rules":[{"match":[{"vars":[["arg_a","==","1"]]}],"weighted_upstreams":[{"upstream_id":"red"}]},{` + blue + `}]}`, "/", "blue"},
		{"first rule wins", `{"rules":[{"weighted_upstreams":[{"upstream_id":"red"}]},{` + blue + `}]}`, "/", "red"},
		{"match of none", `{"rules":[{"match":[],` + blue + `}]}`, "/", ""},
		{"empty condition", `{"rules":[{"match":[{}],` + blue + `}]}`, "/", "blue"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", x.target)
			if p.Access == nil {
				return
			}
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if got := chosen(c); got != x.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWeights(t *testing.T) {
	for _, x := range []struct {
		conf string
		runs int
		want map[string]int
	}{
		{`{"upstream_id":"a","weight":2},{"upstream_id":"b","weight":1},{"weight":2}`, 10, map[string]int{"a": 4, "b": 2, "": 4}},
		{`{"upstream_id":"a","weight":100},{"weight":0}`, 10, map[string]int{"a": 10}},
		{`{"upstream_id":"a","weight":0},{"upstream_id":"b","weight":0}`, 10, map[string]int{"a": 5, "b": 5}},
		{`{"upstream_id":"a","weight":1},{"upstream_id":"a","weight":3},{"weight":1}`, 8, map[string]int{"a": 6, "": 2}},
		{`{"upstream_id":"a","weight":999999937},{"weight":999999937}`, 10, map[string]int{"a": 5, "": 5}},
		{`{"upstream_id":"a","weight":9223372036854775807},{"upstream_id":"b","weight":9223372036854775807},{"upstream_id":"c"},{"weight":1}`, 10,
			map[string]int{"a": 5, "b": 5}},
		{`{"upstream_id":"a"},{"upstream_id":"b"},{"upstream_id":"c"}`, 9, map[string]int{"a": 3, "b": 3, "c": 3}},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"rules":[{"weighted_upstreams":[`+x.conf+`]}]}`)
		got := map[string]int{}
		for range x.runs {
			c := plugintest.Request("GET", "/")
			if _, err := p.Access(c); err != nil {
				t.Fatal(err)
			}
			got[chosen(c)]++
		}
		if fmt.Sprint(got) != fmt.Sprint(x.want) {
			t.Errorf("%s: %v", x.conf, got)
		}
	}
}

// TestRotation: each as often as it weighs, and spread.
func TestRotation(t *testing.T) {
	for _, weights := range [][]uint64{{1}, {9, 1}, {50, 50}, {7, 5, 3, 1}, {1000, 1}, {3, 3, 3}} {
		r := newRotation(weights)
		total := r.ends[len(r.ends)-1]
		counts := make([]uint64, len(weights))
		for range 3 * total {
			counts[r.next()]++
		}
		for i := range weights {
			if sum := r.ends[len(r.ends)-1]; counts[i]*gcdOf(weights) != 3*weights[i] {
				t.Errorf("%v: %v of %d", weights, counts, sum)
			}
		}
	}
	r := newRotation([]uint64{50, 50})
	run, longest, last := 0, 0, -1
	for range 100 {
		if i := r.next(); i == last {
			run++
		} else {
			run, last = 1, i
		}
		longest = max(longest, run)
	}
	if longest > 3 {
		t.Errorf("%d in a row", longest)
	}
}

func gcdOf(weights []uint64) (d uint64) {
	for _, w := range weights {
		d = gcd(d, w)
	}
	return d
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"rules":[{"match":[{"vars":[["arg_a","no","1"]]}]}]}`: "failed to validate the 'vars' expression: ",
		`{"rules":[{"weighted_upstreams":[]}]}`:                 "expect array to have at least 1 items",
		`{"rules":[{"weighted_upstreams":[{"weight":-1}]}]}`:    "expected -1 to be at least 0",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
	env := plugintest.Env()
	env.Upstream = func(string, *resource.Upstream) (plugins.Upstream, error) { return nil, fmt.Errorf("no such") }
	if _, err := plugintest.Try(&Plugin, env, `{"rules":[{"weighted_upstreams":[{"upstream_id":1}]}]}`); err == nil {
		t.Error("an upstream that cannot be made was taken")
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"rules":[{"match":[{"vars":[["arg_a","==","1"]]}],
		"weighted_upstreams":[{"upstream_id":"a","weight":9},{"weight":1}]}]}`)
	c := plugintest.Request("GET", "/?a=1")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}

// TestNodeName: a node's name goes upstream without its port, whichever is tried.
func TestNodeName(t *testing.T) {
	for conf, want := range map[string]string{
		`"pass_host":"node"`:                  "[::1]",
		`"pass_host":"node","scheme":"http"`:  "[::1]",
		`"pass_host":"node","scheme":"https"`: "",
		`"pass_host":"pass"`:                  "",
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(),
			`{"rules":[{"weighted_upstreams":[{"upstream":{"type":"roundrobin","nodes":{"a.com:81":1},`+conf+`}}]}]}`)
		c := plugintest.Request("GET", "/")
		if _, err := p.Access(c); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"a.com", "::1"} {
			c.Tries = append(c.Tries, plugins.Try{Host: host})
			if p.BeforeProxy == nil {
				continue
			}
			if r, err := p.BeforeProxy(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
		}
		if c.UpstreamHost != want {
			t.Errorf("%s: %q", conf, c.UpstreamHost)
		}
	}
}
