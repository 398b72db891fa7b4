package splunkheclogging

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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
	return strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("X-Splunk-Request-Channel")}, " ")
}

func answer(http.ResponseWriter, *http.Request) {}

func environment() *plugins.Env {
	env := plugintest.Env()
	env.Now = func() time.Time { return time.Unix(1000, 500_000_000) }
	return env
}

func TestLog(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	event := func(event string) string {
		return `{"event":` + event + `,"host":"` + host + `","source":"apache-apisix-splunk-hec-logging","sourcetype":"_json","time":1000.500}`
	}
	usual := func(uri string) string {
		return event(`{"from":"127.0.0.1","latency":500,"request_headers":{"host":"example.com"},"request_method":"GET","request_query":{},"request_size":"0",` +
			`"request_url":"http://example.com:9080` + uri + `","response_headers":{},"response_size":"0","response_status":200}`)
	}
	for conf, want := range map[string]string{
		`"log_format":{"uri":"$request_uri"}`:        event(`{"uri":"/1","route_id":"1"}`) + event(`{"uri":"/2","route_id":"1"}`),
		`"log_format_extra":{"from":"$remote_addr"}`: usual("/1") + usual("/2"),
	} {
		got := requests(t, environment(), func(address string) string {
			return `{"endpoint":{"uri":"` + address + `/services","token":"tok","channel":"ch"},` + conf + `}`
		})
		if !slices.Equal(got, []string{"POST /services Splunk tok ch " + want}) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestFailure(t *testing.T) {
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	defer s.Close()
	p, err := plugintest.Try(&Plugin, env, `{"endpoint":{"uri":"`+s.URL+`","token":"t"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if !strings.Contains(text.String(), "failed to send splunk, http status code: 500") {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                              `property "endpoint" is required`,
		`{"endpoint":{"uri":"http://a"}}`: `property "endpoint" validation failed: property "token" is required`,
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"endpoint":{"uri":"http://127.0.0.1:1","token":"t"},"batch_max_size":1000000}`)
	c := served("/hello")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}
