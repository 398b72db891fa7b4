package udplogger

import (
	"log/slog"
	"net"
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

// listen is a server of datagrams.
func listen(t *testing.T) (*net.UDPConn, string) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
}

func TestLog(t *testing.T) {
	for conf, want := range map[string][]string{
		``:                    {`[{"uri":"/1","route_id":"1"},{"uri":"/2","route_id":"1"}]`},
		`,"batch_max_size":1`: {`{"uri":"/1","route_id":"1"}`, `{"uri":"/2","route_id":"1"}`},
	} {
		conn, port := listen(t)
		p, err := plugintest.Try(&Plugin, plugintest.Env(), `{"host":"127.0.0.1","port":`+port+`,"log_format":{"uri":"$request_uri"}`+conf+`}`)
		if err != nil {
			t.Fatal(err)
		}
		p.Log(served("/1"))
		p.Log(served("/2"))
		p.Close()
		b := make([]byte, 2000)
		for _, text := range want {
			if n, err := conn.Read(b); err != nil || string(b[:n]) != text {
				t.Errorf("got %s, %v, want %s", b[:n], err, text)
			}
		}
	}
}

func TestFailure(t *testing.T) {
	var text strings.Builder
	env := plugintest.Env()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	p, err := plugintest.Try(&Plugin, env, `{"host":"127.0.0.1:1","port":0}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if want := "failed to connect to UDP server: host[127.0.0.1:1] port[0]"; !strings.Contains(text.String(), want) {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"host":"127.0.0.1"}`:               `property "port" is required`,
		`{"port":3000}`:                      `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`: `property "port" validation failed: wrong type: expected integer, got string`,
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
