package tcplogger

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strconv"
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
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
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
			got := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer conn.Close()
				b, err := io.ReadAll(conn)
				if err != nil {
					b = append(b, err.Error()...)
				}
				got <- string(b)
			}()
			p, err := plugintest.Try(&Plugin, plugintest.Env(), `{"host":"127.0.0.1","timeout":10000,"port":`+
				strconv.Itoa(plain.Addr().(*net.TCPAddr).Port)+`,"log_format":{"uri":"$request_uri"}`+test.conf+`}`)
			if err != nil {
				t.Fatal(err)
			}
			p.Log(served("/1"))
			p.Log(served("/2"))
			p.Close()
			if text := <-got; text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	p, err := plugintest.Try(&Plugin, env, `{"host":"127.0.0.1","port":`+port+`}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if want := "failed to connect to TCP server: host[127.0.0.1] port[" + port + "]"; !strings.Contains(text.String(), want) {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"host":"127.0.0.1"}`:                 `property "port" is required`,
		`{"port":3000}`:                        `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`:   `property "port" validation failed: wrong type: expected integer, got string`,
		`{"host":"h","port":1,"timeout":"10"}`: `property "timeout" validation failed`,
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"host":"127.0.0.1","port":1,"batch_max_size":1000000}`)
	c := served("/hello")
	b.ReportAllocs()
	for b.Loop() {
		p.Log(c)
	}
}
