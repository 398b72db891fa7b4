package syslog

import (
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
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
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1"}}
	plugintest.Respond(c, 200)
	return c
}

// message is what a request to target is to become.
func message(target string) string {
	return "<46>1 1970-01-01T00:16:40.500Z example.com apisix " + strconv.Itoa(os.Getpid()) +
		` - - {"uri":"` + target + `","route_id":"1"}` + "\n"
}

func environment() *plugins.Env {
	env := plugintest.Env()
	env.Now = func() time.Time { return time.Unix(1000, 500_000_000) }
	return env
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		b, _ := io.ReadAll(conn)
		got <- string(b)
	}()
	p, err := plugintest.Try(&Plugin, environment(), `{"host":"127.0.0.1","drop_limit":150,"port":`+
		strconv.Itoa(l.Addr().(*net.TCPAddr).Port)+`,"log_format":{"uri":"$request_uri"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/1"))
	p.Log(served("/" + strings.Repeat("x", 150)))
	p.Log(served("/2"))
	p.Close()
	if text := <-got; text != message("/1")+message("/2") {
		t.Errorf("got %s", text)
	}
}

func TestUDP(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := plugintest.Try(&Plugin, environment(), `{"host":"127.0.0.1","sock_type":"udp","port":`+
		strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)+`,"log_format":{"uri":"$request_uri"}}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/1"))
	p.Log(served("/2"))
	p.Close()
	b := make([]byte, 2000)
	for _, target := range []string{"/1", "/2"} {
		if n, err := conn.Read(b); err != nil || string(b[:n]) != message(target) {
			t.Errorf("got %s, %v", b[:n], err)
		}
	}
}

func TestFailure(t *testing.T) {
	var text strings.Builder
	env := environment()
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	p, err := plugintest.Try(&Plugin, env, `{"host":"127.0.0.1","port":-1}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(served("/"))
	p.Close()
	if !strings.Contains(text.String(), "Batch Processor[sys logger] failed to process entries: failed to log message") {
		t.Error(text.String())
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"host":"127.0.0.1"}`:                     `property "port" is required`,
		`{"port":3000}`:                            `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`:       `property "port" validation failed: wrong type: expected integer, got string`,
		`{"host":"h","port":1,"sock_type":"unix"}`: `property "sock_type" validation failed`,
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
