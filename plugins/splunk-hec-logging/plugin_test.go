package splunkheclogging

import (
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment() *plugins.Env { return plugintest.At(time.Unix(1000, 500_000_000)) }

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
		sink := plugintest.NewSink(t, nil, "Authorization", "X-Splunk-Request-Channel")
		plugintest.Log(t, &Plugin, environment(), `{"endpoint":{"uri":"`+sink.URL+`/services","token":"tok","channel":"ch"},`+conf+`}`, "/1", "/2")
		if got := sink.Got(); !slices.Equal(got, []string{"POST /services Splunk tok ch " + want}) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestFailure(t *testing.T) {
	for body, want := range map[string]string{
		`no`:                             "failed to send splunk, http status code: 403",
		`{"code":4}`:                     "failed to send splunk, http status code: 403",
		`null`:                           "failed to send splunk, http status code: 403",
		`{"text":"Invalid token","c":4}`: "failed to send splunk, Invalid token",
	} {
		sink := plugintest.NewSink(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, body)
		})
		plugintest.Complain(t, &Plugin, plugintest.Env(), `{"endpoint":{"uri":"`+sink.URL+`","token":"t"}}`, want)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{}`:                              `property "endpoint" is required`,
		`{"endpoint":{"uri":"http://a"}}`: `property "endpoint" validation failed: property "token" is required`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"endpoint":{"uri":"http://127.0.0.1:1","token":"t"},"batch_max_size":1000000}`)
}
