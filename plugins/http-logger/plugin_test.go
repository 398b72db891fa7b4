package httplogger

import (
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	for name, test := range map[string]struct{ conf, want string }{
		"list": {`,"auth_header":"secret"`, `POST /logs?a=1 application/json secret [{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`},
		"lines": {`,"concat_method":"new_line"`,
			"POST /logs?a=1 text/plain  {\"uri\":\"/1\",\"route_id\":\"1\"}\n{\"uri\":\"/2\",\"route_id\":\"1\"}"},
		"one by one": {`,"batch_max_size":1`, `POST /logs?a=1 application/json  {"uri":"/1","route_id":"1"}` +
			`POST /logs?a=1 application/json  {"uri":"/2","route_id":"1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			sink := plugintest.NewSink(t, nil, "Content-Type", "Authorization")
			plugintest.Log(t, &Plugin, plugintest.Env(), `{"uri":"`+sink.URL+`/logs?a=1","log_format":{"uri":"$request_uri"}`+test.conf+`}`, "/1", "/2")
			if got := strings.Join(sink.Got(), ""); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
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
	sink := plugintest.NewSink(t, plugintest.Failing)
	env := plugintest.Env()
	log := make(lines, 10)
	env.Log = slog.New(slog.NewTextHandler(log, nil))
	p := plugintest.Build(t, &Plugin, env, `{"uri":"`+sink.URL+`","batch_max_size":1}`)
	c := plugintest.Served("/")
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
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{}`:          `property "uri" is required`,
		`{"uri":"x"}`: `property "uri" validation failed: failed to match pattern`,
		`{"uri":"http://127.0.0.1","concat_method":"x"}`:             `property "concat_method" validation failed: matches none of the enum values`,
		`{"uri":"http://127.0.0.1","batch_max_size":0}`:              `property "batch_max_size" validation failed: expected 0 to be at least 1`,
		`{"uri":"http://127.0.0.1","include_req_body_expr":[["a"]]}`: "failed to validate the 'include_req_body_expr' expression: ",
	})
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
	plugintest.BenchmarkLog(b, &Plugin, `{"uri":"http://127.0.0.1:1"}`)
}
