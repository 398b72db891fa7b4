package elasticsearchlogger

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a request that has ended.
func served(target string) *plugins.Ctx {
	c := plugintest.Request("GET", target)
	c.Start = time.Unix(1000, 0)
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	plugintest.Respond(c, 200)
	return c
}

// requests logs /1 and /2 through an instance and returns what the server got.
func requests(t *testing.T, env *plugins.Env, conf func(address string) string) []string {
	t.Helper()
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, describe(r)+" "+string(b))
		answer(w, r)
	}))
	defer s.Close()
	p, err := plugintest.Try(&Plugin, env, conf(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/1"))
	p.Log(served("/2"))
	p.Close()
	if n := env.Shared.Len(); n != 0 {
		t.Errorf("%d shared values left", n)
	}
	return got
}

func describe(r *http.Request) string {
	return strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), r.Header.Get("X-A")}, " ")
}

var version string

func answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		io.WriteString(w, `{"version":{"number":"`+version+`"}}`)
	}
}

func TestLog(t *testing.T) {
	for number, kind := range map[string]string{"8.1.2": "", "6.0.0": `,"_type":"_doc"`} {
		version = number
		got := requests(t, plugintest.Env(), func(address string) string {
			return `{"endpoint_addr":"` + address + `","field":{"index":"i-$uri"},"auth":{"username":"u","password":"p"},` +
				`"headers":{"X-A":"a"},"log_format":{"uri":"$request_uri"}}`
		})
		want := []string{"GET / Basic dTpw  a ", "POST /_bulk Basic dTpw application/x-ndjson a " +
			`{"index":{"_index":"i-/1"` + kind + "}}\n" + `{"uri":"/1","route_id":"1"}` + "\n" +
			`{"index":{"_index":"i-/2"` + kind + "}}\n" + `{"uri":"/2","route_id":"1"}` + "\n"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	now := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, want := range map[string]string{
		"plain": "plain", "a-{!%Y.%m.%d}": "a-2024.02.03", "${arg_x}-{!%H:%M:%S%%}": "1-04:05:06%", "{!%F}{!%j}": "2024-02-03034",
		"$arg_x{*t}z": "1z", "open{%Y": "open{%Y", "{!%Q%}": "%Q%",
	} {
		ix, err := parseIndex(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := ix.render(plugintest.Request("GET", "/?x=1"), now); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestFailure(t *testing.T) {
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	defer s.Close()
	p, err := plugintest.Try(&Plugin, env, `{"endpoint_addr":"`+s.URL+`","field":{"index":"i"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if !strings.Contains(text.String(), "elasticsearch server returned status: 500, body: no") {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"endpoint_addr":"http://a"}`:                                   `value should match only one schema, but matches none`,
		`{"endpoint_addr":"http://a/","field":{"index":"i"}}`:            `property "endpoint_addr" validation failed`,
		`{"endpoint_addr":"http://a","field":{"index":"${post_arg.[}"}}`: `field.index: `,
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"endpoint_addr":"http://127.0.0.1:1","field":{"index":"i"},"batch_max_size":1000000}`)
	c := served("/hello")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}
