package clickhouselogger

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rest = `"user":"u","password":"p","database":"d","logtable":"t","log_format":{"uri":"$request_uri"}}`

func TestLog(t *testing.T) {
	for _, endpoint := range [][2]string{{`{"endpoint_addr":"`, `",`}, {`{"endpoint_addrs":["`, `"],`}} {
		sink := plugintest.NewSink(t, nil, "X-ClickHouse-User", "X-ClickHouse-Key", "X-ClickHouse-Database")
		plugintest.Log(t, &Plugin, plugintest.Env(), endpoint[0]+sink.URL+endpoint[1]+rest, "/1", "/2")
		want := []string{`POST / u p d INSERT INTO t FORMAT JSONEachRow {"uri":"/1","route_id":"1"} {"uri":"/2","route_id":"1"}`}
		if got := sink.Got(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
}

func TestFailure(t *testing.T) {
	sink := plugintest.NewSink(t, plugintest.Failing)
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"endpoint_addr":"`+sink.URL+`",`+rest, "server returned status code[500]")
}

func TestNoAddress(t *testing.T) {
	plugintest.NoAddress(t, &Plugin, `{"endpoint_addr":"","batch_max_size":1}`)
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"endpoint_addr":"x","user":"u","password":"p","database":"d","logtable":"t"}`: `property "endpoint_addr" validation failed`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"endpoint_addr":"http://127.0.0.1:1","user":"u","password":"p","database":"d","logtable":"t","batch_max_size":1000000}`)
}
