package iprestriction

import (
	"net/netip"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestAccess(t *testing.T) {
	for _, x := range []struct {
		conf, addr string
		status     int // 0: let through
		message    string
	}{
		{`{"whitelist":["127.0.0.0/24","113.74.26.106"]}`, "127.0.0.1", 0, ""},
		{`{"whitelist":["127.0.0.0/24","113.74.26.106"]}`, "113.74.26.106", 0, ""},
		{`{"whitelist":["127.0.0.0/24"]}`, "10.0.0.1", 403, "Your IP address is not allowed"},
		{`{"whitelist":["127.0.0.0/24"]}`, "::1", 403, "Your IP address is not allowed"},
		{`{"whitelist":["127.0.0.0/24"]}`, "::ffff:127.0.0.9", 0, ""},
		{`{"blacklist":["127.0.0.0/24"]}`, "127.0.0.1", 403, "Your IP address is not allowed"},
		{`{"blacklist":["127.0.0.0/24"]}`, "10.0.0.1", 0, ""},
		{`{"blacklist":["::1","fe80::/32"]}`, "fe80::1:1", 403, "Your IP address is not allowed"},
		{`{"blacklist":["::1"],"message":"Do you want to do something bad?","response_code":404}`, "::1",
			404, "Do you want to do something bad?"},
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
		c := plugintest.Request("GET", "/")
		c.Addr = netip.MustParseAddr(x.addr)
		for _, phase := range []func(*plugins.Ctx) (*plugins.Reply, error){p.Access, p.Preread} {
			r, err := phase(c)
			switch {
			case err != nil:
				t.Error(err)
			case x.status == 0 && r != nil, x.status != 0 && (r == nil || r.Status != x.status ||
				r.Body != plugins.Message{Message: x.message}):
				t.Errorf("%s, %s: %+v", x.conf, x.addr, r)
			}
		}
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`: "value should match only one schema, but matches none",
		`{"whitelist":["172.16.0.0/12"],"blacklist":["::1"]}`: "value should match only one schema, but matches both schemas 1 and 2",
		`{"whitelist":[]}`:                          "expect array to have at least 1 items",
		`{"whitelist":["10.255.256.0/24"]}`:         "failed to validate item 1: object matches none of the required",
		`{"whitelist":[":/8"]}`:                     "invalid ip address: :/8",
		`{"blacklist":["::1/129"]}`:                 "invalid ip address: ::1/129",
		`{"blacklist":["::1"],"response_code":409}`: "expected 409 to be at most 404",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"whitelist":["10.0.0.0/8","127.0.0.0/24","::1"]}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		if r, _ := p.Access(c); r != nil {
			b.Fatal(r)
		}
	}
}
