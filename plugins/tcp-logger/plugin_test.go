package tcplogger

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	plain, port := plugintest.Listen(t)
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	pair := cert.TLS.Certificates
	cert.Close()
	for name, test := range map[string]struct {
		conf, want string
		tls        bool
	}{
		"list": {``, `[{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`, false},
		"tls":  {`,"tls":true,"tls_options":"example.com"`, `[{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := plain
			if test.tls {
				l = tls.NewListener(plain, &tls.Config{Certificates: pair})
			}
			got := plugintest.Sent(l)
			plugintest.Log(t, &Plugin, plugintest.Env(), `{"host":"127.0.0.1","timeout":10000,"port":`+port+
				`,"log_format":{"uri":"$request_uri"}`+test.conf+`}`, "/1", "/2")
			if text := <-got; text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	l, port := plugintest.Listen(t)
	l.Close()
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"host":"127.0.0.1","port":`+port+`}`,
		"failed to connect to TCP server: host[127.0.0.1] port["+port+"]")
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"host":"127.0.0.1"}`:                 `property "port" is required`,
		`{"port":3000}`:                        `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`:   `property "port" validation failed: wrong type: expected integer, got string`,
		`{"host":"h","port":1,"timeout":"10"}`: `property "timeout" validation failed`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"host":"127.0.0.1","port":1,"batch_max_size":1000000}`)
}
