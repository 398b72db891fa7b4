package realip

import (
	"strings"
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestRewrite(t *testing.T) {
	const xff = `{"source":"http_x_forwarded_for","trusted_addresses":["127.0.0.0/8","192.128.0.0/16"]`
	for _, x := range []struct {
		name, conf string
		fields     []string
		addr       string
		port       uint16
	}{
		{"address", `{"source":"http_xff"}`, []string{"XFF: 1.1.1.1"}, "1.1.1.1", 0},
		{"with port", `{"source":"http_xff"}`, []string{"XFF: 1.1.1.1:80"}, "1.1.1.1", 80},
		{"argument", `{"source":"arg_realip"}`, nil, "9.8.7.6", 0},
		{"IPv6", `{"source":"http_xff"}`, []string{"XFF: ::2"}, "::2", 0},
		{"IPv6 with port", `{"source":"http_xff"}`, []string{"XFF: [::2]:80"}, "::2", 80},
		{"IPv6 in brackets", `{"source":"http_xff"}`, []string{"XFF: [::2]"}, "::2", 0},
		{"missing", `{"source":"http_xff"}`, nil, "127.0.0.1", 5000},
		{"no address", `{"source":"http_xff"}`, []string{"XFF: unknown"}, "127.0.0.1", 5000},
		{"port too high", `{"source":"http_xff"}`, []string{"XFF: 1.1.1.1:65536"}, "127.0.0.1", 5000},
		{"port zero", `{"source":"http_xff"}`, []string{"XFF: 1.1.1.1:0"}, "127.0.0.1", 5000},
		{"zone", `{"source":"http_xff"}`, []string{"XFF: fe80::1%eth0"}, "127.0.0.1", 5000},
		{"not trusted", `{"source":"http_xff","trusted_addresses":["10.0.0.1"]}`, []string{"XFF: 1.1.1.1"}, "127.0.0.1", 5000},
		{"trusted", `{"source":"http_xff","trusted_addresses":["127.0.0.1"]}`, []string{"XFF: 1.1.1.1"}, "1.1.1.1", 0},
		{"chain", xff + `}`, []string{"X-Forwarded-For: 9.9.9.9, 192.128.1.2, 1.1.1.1"}, "1.1.1.1", 0},
		{"last field", xff + `}`, []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 1.1.1.1"}, "1.1.1.1", 0},
		{"recursive", xff + `,"recursive":true}`, []string{"X-Forwarded-For: 5.5.5.5, 1.1.1.1, 192.128.3.3, 192.128.1.2"}, "1.1.1.1", 0},
		{"recursive, all trusted", xff + `,"recursive":true}`, []string{"X-Forwarded-For: 192.128.3.3,127.0.0.2"}, "192.128.3.3", 0},
		{"empty", xff + `}`, []string{"X-Forwarded-For: "}, "127.0.0.1", 5000},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", "/?realip=9.8.7.6", x.fields...)
			if r, err := p.Rewrite(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if c.Addr.String() != x.addr || c.Port != x.port || c.Var("remote_addr") != x.addr {
				t.Errorf("%s:%d", c.Addr, c.Port)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                    `property "source" is required`,
		`{"source":"a","trusted_addresses":[]}`: "expect array to have at least 1 items",
		`{"source":"a","trusted_addresses":["x.x"]}`:        `property "trusted_addresses" validation failed`,
		`{"source":"a","trusted_addresses":["1.1.1.1/99"]}`: "",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"source":"http_x_forwarded_for","trusted_addresses":["127.0.0.0/8"],"recursive":true}`)
	c := plugintest.Request("GET", "/", "X-Forwarded-For: 1.1.1.1, 127.0.0.2")
	addr := c.Addr
	b.ReportAllocs()
	for b.Loop() {
		c.Addr = addr
		if _, err := p.Rewrite(c); err != nil {
			b.Fatal(err)
		}
	}
}
