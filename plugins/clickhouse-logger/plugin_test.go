package clickhouselogger

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
	return strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key"),
		r.Header.Get("X-ClickHouse-Database")}, " ")
}

func answer(http.ResponseWriter, *http.Request) {}

const rest = `"user":"u","password":"p","database":"d","logtable":"t","log_format":{"uri":"$request_uri"}}`

func TestLog(t *testing.T) {
	for _, endpoint := range [][2]string{{`{"endpoint_addr":"`, `",`}, {`{"endpoint_addrs":["`, `"],`}} {
		got := requests(t, plugintest.Env(), func(address string) string { return endpoint[0] + address + endpoint[1] + rest })
		want := []string{`POST / u p d INSERT INTO t FORMAT JSONEachRow {"uri":"/1","route_id":"1"} {"uri":"/2","route_id":"1"}`}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
}

func TestFailure(t *testing.T) {
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	defer s.Close()
	p, err := plugintest.Try(&Plugin, env, `{"endpoint_addr":"`+s.URL+`",`+rest)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if !strings.Contains(text.String(), "server returned status code[500]") {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"endpoint_addr":"x","user":"u","password":"p","database":"d","logtable":"t"}`: `property "endpoint_addr" validation failed`,
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"endpoint_addr":"http://127.0.0.1:1","user":"u","password":"p","database":"d","logtable":"t","batch_max_size":1000000}`)
	c := served("/hello")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}
