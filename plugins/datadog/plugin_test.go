package datadog

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) {
	// The clock of the expressions in schemas ends by itself.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

func TestLog(t *testing.T) {
	conn, port := plugintest.Datagrams(t)
	for name, test := range map[string]struct{ conf, tags, prefix string }{
		"usual": {`{}`, `source:apisix,route_name:r,service_name:s,balancer_ip:127.0.0.2,response_status:200,response_status_class:2xx,scheme:http`, "apisix."},
		"all": {`{"prefer_name":false,"include_path":true,"include_method":true,"constant_tags":["env:x"]}`,
			`env:x,route_name:1,path:/p/*,method:GET,service_name:2,consumer:jack,balancer_ip:127.0.0.2,response_status:200,response_status_class:2xx,scheme:http`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			env := plugintest.Env()
			env.Now = func() time.Time { return time.Unix(1000, 30_000_000) }
			more := ""
			if name == "all" {
				more = `,"namespace":"","constant_tags":[]`
			}
			env.Metadata = json.RawMessage(`{"host":"127.0.0.1","port":` + port + more + `}`)
			p, err := plugintest.Try(&Plugin, env, test.conf)
			if err != nil {
				t.Fatal(err)
			}
			c := plugintest.Served("/p/1")
			c.Route = &resource.Route{Meta: resource.Meta{ID: "1", Name: "r"}, ServiceID: "2"}
			c.Service = &resource.Service{Meta: resource.Meta{ID: "2", Name: "s"}}
			c.Matched.Path, c.UpstreamScheme, c.Req.Size, c.BytesSent = "/p/*", "http", 100, 200
			c.Tries = append(c.Tries, plugins.Try{Addr: "127.0.0.2:80", Total: 20 * time.Millisecond})
			if name == "all" {
				c.Consumer = plugintest.Consumer("jack", "", nil)
			}
			p.Log(c)
			p.Close()
			var want strings.Builder
			for i, m := range []string{"request.counter:1|c", "request.latency:30|h", "upstream.latency:20|h", "apisix.latency:10|h",
				"ingress.size:100|ms", "egress.size:200|ms"} {
				if i > 0 {
					want.WriteByte('\n')
				}
				want.WriteString(test.prefix + m + "|#" + test.tags)
			}
			b := make([]byte, 9000)
			n, err := conn.Read(b)
			if err != nil || string(b[:n]) != want.String() {
				t.Errorf("got  %s\nwant %s, %v", b[:n], &want, err)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	env := plugintest.Env()
	env.Metadata = json.RawMessage(`{"host":"127.0.0.1:1"}`)
	plugintest.Complain(t, &Plugin, env, `{}`, "failed to connect to UDP server: host[127.0.0.1:1] port[8125]")
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"batch_max_size":0}`:     `property "batch_max_size" validation failed`,
		`{"constant_tags":["1a"]}`: `property "constant_tags" validation failed`,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"batch_max_size":1000000}`)
}
