package udplogger

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	for conf, want := range map[string][]string{
		``:                    {`[{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`},
		`,"batch_max_size":1`: {`{"uri":"/1","route_id":"1"}`, `{"uri":"/2","route_id":"1"}`},
	} {
		conn, port := plugintest.Datagrams(t)
		plugintest.Log(t, &Plugin, plugintest.Env(), `{"host":"127.0.0.1","port":`+port+`,"log_format":{"uri":"$request_uri"}`+conf+`}`, "/1", "/2")
		b := make([]byte, 2000)
		for _, text := range want {
			if n, err := conn.Read(b); err != nil || string(b[:n]) != text {
				t.Errorf("got %s, %v, want %s", b[:n], err, text)
			}
		}
	}
}

func TestFailure(t *testing.T) {
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"host":"127.0.0.1:1","port":0}`,
		"failed to connect to UDP server: host[127.0.0.1:1] port[0]")
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"host":"127.0.0.1"}`:               `property "port" is required`,
		`{"port":3000}`:                      `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`: `property "port" validation failed: wrong type: expected integer, got string`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"host":"127.0.0.1","port":1,"batch_max_size":1000000}`)
}
