package syslog

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what a request to target is to become.
func message(target string) string {
	return "<46>1 1970-01-01T00:16:40.500Z example.com apisix " + strconv.Itoa(os.Getpid()) +
		` - - {"uri":"` + target + `","route_id":"1"}` + "\n"
}

func environment() *plugins.Env { return plugintest.At(time.Unix(1000, 500_000_000)) }

func TestTCP(t *testing.T) {
	l, port := plugintest.Listen(t)
	got := plugintest.Sent(l)
	plugintest.Log(t, &Plugin, environment(), `{"host":"127.0.0.1","drop_limit":150,"port":`+port+`,"log_format":{"uri":"$request_uri"}}`,
		"/1", "/"+strings.Repeat("x", 150), "/2")
	if text := <-got; text != message("/1")+message("/2") {
		t.Errorf("got %s", text)
	}
}

// TestVariables: making the entry must not disturb what stands before it.
func TestVariables(t *testing.T) {
	l, port := plugintest.Listen(t)
	got := plugintest.Sent(l)
	plugintest.Log(t, &Plugin, environment(), `{"host":"127.0.0.1","port":`+port+
		`,"log_format":{"a":"$request_time","b":"$bytes_sent","c":"$msec","d":"$request_length","e":"$remote_addr","f":"$status","g":"$remote_port"}}`, "/1")
	want := strings.SplitAfter(message("/1"), " - - ")[0]
	if text := <-got; !strings.HasPrefix(text, want+`{"a":`) {
		t.Errorf("got %s, want %s…", text, want)
	}
}

func TestUDP(t *testing.T) {
	conn, port := plugintest.Datagrams(t)
	plugintest.Log(t, &Plugin, environment(), `{"host":"127.0.0.1","sock_type":"udp","port":`+port+`,"log_format":{"uri":"$request_uri"}}`, "/1", "/2")
	b := make([]byte, 2000)
	for _, target := range []string{"/1", "/2"} {
		if n, err := conn.Read(b); err != nil || string(b[:n]) != message(target) {
			t.Errorf("got %s, %v", b[:n], err)
		}
	}
}

// TestTooLongForADatagram loses that message, and not those behind it.
func TestTooLongForADatagram(t *testing.T) {
	conn, port := plugintest.Datagrams(t)
	env := environment()
	var text strings.Builder
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	plugintest.Log(t, &Plugin, env, `{"host":"127.0.0.1","sock_type":"udp","port":`+port+`,"log_format":{"uri":"$request_uri"}}`,
		"/1", "/"+strings.Repeat("x", 70_000), "/2")
	b := make([]byte, 2000)
	for _, target := range []string{"/1", "/2"} {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(b); err != nil || string(b[:n]) != message(target) {
			t.Errorf("got %s, %v", b[:n], err)
		}
	}
	if !strings.Contains(text.String(), "too long for a datagram") {
		t.Errorf("the log is %q", &text)
	}
}

// TestNothingToSend is no failure: nobody need be asked.
func TestNothingToSend(t *testing.T) {
	env := environment()
	var text strings.Builder
	env.Log = slog.New(slog.NewTextHandler(&text, nil))
	plugintest.Log(t, &Plugin, env, `{"host":"127.0.0.1","port":1,"tls":true,"drop_limit":10}`, "/1")
	if text.Len() != 0 {
		t.Errorf("the log is %q", &text)
	}
}

func TestFailure(t *testing.T) {
	plugintest.Complain(t, &Plugin, environment(), `{"host":"127.0.0.1","port":-1}`,
		"Batch Processor[sys logger] failed to process entries: failed to log message")
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"host":"127.0.0.1"}`:                     `property "port" is required`,
		`{"port":3000}`:                            `property "host" is required`,
		`{"host":"127.0.0.1","port":"2000"}`:       `property "port" validation failed: wrong type: expected integer, got string`,
		`{"host":"h","port":1,"sock_type":"unix"}`: `property "sock_type" validation failed`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"host":"127.0.0.1","port":1,"batch_max_size":1000000}`)
}
