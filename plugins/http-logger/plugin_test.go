package httplogger

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a request that has ended.
func served(target string) *plugins.Ctx {
	c := plugintest.Request("GET", target)
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	plugintest.Respond(c, 200)
	return c
}

func TestLog(t *testing.T) {
	for name, test := range map[string]struct{ conf, want string }{
		"list": {`,"auth_header":"secret"`, `POST /logs?a=1 application/json secret [{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`},
		"lines": {`,"concat_method":"new_line"`,
			"POST /logs?a=1 text/plain  {\"uri\":\"/1\",\"route_id\":\"1\"}\n{\"uri\":\"/2\",\"route_id\":\"1\"}"},
		"one by one": {`,"batch_max_size":1`, `POST /logs?a=1 application/json  {"uri":"/1","route_id":"1"}` +
			`POST /logs?a=1 application/json  {"uri":"/2","route_id":"1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				got.WriteString(strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("Content-Type"),
					r.Header.Get("Authorization"), string(b)}, " "))
			}))
			defer s.Close()
			p, err := plugintest.Try(&Plugin, plugintest.Env(),
				`{"uri":"`+s.URL+`/logs?a=1","log_format":{"uri":"$request_uri"}`+test.conf+`}`)
			if err != nil {
				t.Fatal(err)
			}
			p.Log(served("/1"))
			p.Log(served("/2"))
			p.Close()
			if got.String() != test.want {
				t.Errorf("got  %s\nwant %s", &got, test.want)
			}
		})
	}
}

// lines is a log that can be read while it is written.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestFailure(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	defer s.Close()
	env := plugintest.Env()
	log := make(lines, 10)
	env.Log = slog.New(slog.NewTextHandler(log, nil))
	p := plugintest.Build(t, &Plugin, env, `{"uri":"`+s.URL+`","batch_max_size":1}`)
	c := served("/")
	c.Route = nil
	p.Log(c)
	for _, want := range []string{"Batch Processor[http logger] failed to process entries: server returned status code[500]",
		"Batch Processor[http logger] exceeded the max_retry_count[1] dropping the entries"} {
		if line := <-log; !strings.Contains(line, want) {
			t.Errorf("%s, want %s", line, want)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:          `property "uri" is required`,
		`{"uri":"x"}`: `property "uri" validation failed: failed to match pattern`,
		`{"uri":"http://127.0.0.1","concat_method":"x"}`:             `property "concat_method" validation failed: matches none of the enum values`,
		`{"uri":"http://127.0.0.1","batch_max_size":0}`:              `property "batch_max_size" validation failed: expected 0 to be at least 1`,
		`{"uri":"http://127.0.0.1","include_req_body_expr":[["a"]]}`: "failed to validate the 'include_req_body_expr' expression: ",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func TestPhases(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"uri":"http://127.0.0.1"}`)
	if p.Access != nil || p.BodyFilter != nil {
		t.Error("bodies are looked at for nothing")
	}
	p = plugintest.Build(t, &Plugin, plugintest.Env(), `{"uri":"http://127.0.0.1","include_req_body":true,"include_resp_body":true}`)
	if p.Access == nil || p.BodyFilter == nil {
		t.Error("bodies are not looked at")
	}
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"uri":"http://127.0.0.1:1"}`)
	ctx := served("/hello?a=1")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(ctx)
	}
}
