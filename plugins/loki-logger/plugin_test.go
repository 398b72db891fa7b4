package lokilogger

import (
	"net/http"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answer(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }

func TestLog(t *testing.T) {
	for labels, want := range map[string]string{
		`{"job":"j","b":"$arg_none"}`: `{"streams":[{"stream":{"b":"$arg_none","job":"j"},"values":[` +
			`["1000000000000","{\"uri\":\"/1\",\"route_id\":\"1\"}"],["1000000000000","{\"uri\":\"/2\",\"route_id\":\"1\"}"]]}]}`,
		`{"path":"$uri"}`: `{"streams":[{"stream":{"path":"/1"},"values":[["1000000000000","{\"uri\":\"/1\",\"route_id\":\"1\"}"]]},` +
			`{"stream":{"path":"/2"},"values":[["1000000000000","{\"uri\":\"/2\",\"route_id\":\"1\"}"]]}]}`,
	} {
		sink := plugintest.NewSink(t, answer, "X-Scope-OrgID", "X-A")
		plugintest.Log(t, &Plugin, plugintest.Env(), `{"endpoint_addrs":["`+sink.URL+`"],"headers":{"X-A":"a"},"log_labels":`+labels+
			`,"log_format":{"uri":"$request_uri"}}`, "/1", "/2")
		if got := sink.Got(); !slices.Equal(got, []string{"POST /loki/api/v1/push fake a " + want}) {
			t.Errorf("%q", got)
		}
	}
}

func TestFailure(t *testing.T) {
	sink := plugintest.NewSink(t, plugintest.Failing)
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"endpoint_addrs":["`+sink.URL+`"]}`, "loki server returned status: 500, body: no")
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{}`:                    `property "endpoint_addrs" is required`,
		`{"endpoint_addrs":[]}`: `property "endpoint_addrs" validation failed: expect array to have at least 1 items`,
		`{"endpoint_addrs":["http://a"],"log_labels":{"a":"${post_arg.[}"}}`: `log_labels: `,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"endpoint_addrs":["http://127.0.0.1:1"],"batch_max_size":1000000}`)
}
