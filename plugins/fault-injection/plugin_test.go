package faultinjection

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/plugins/internal/plugintest"
)

func TestAbort(t *testing.T) {
	for _, x := range []struct {
		name, conf string
		status     int
		body       any
		header     string
	}{
		{"status only", `{"abort":{"http_status":405}}`, 405, nil, ""},
		{"body", `{"abort":{"http_status":200,"body":"hi $arg_name"}}`, 200, "hi jack", ""},
		{"fixed body", `{"abort":{"http_status":200,"body":""}}`, 200, "", ""},
		{"header", `{"abort":{"http_status":200,"headers":{"X-A":"$arg_name","X-N":12.5}}}`, 200, nil, "X-A: jack; X-N: 12.5; "},
		{"never", `{"abort":{"http_status":200,"percentage":0}}`, 0, nil, ""},
		{"always", `{"abort":{"http_status":200,"percentage":100}}`, 200, nil, ""},
		{"condition", `{"abort":{"http_status":200,"vars":[[["arg_name","==","jack"]]]}}`, 200, nil, ""},
		{"one of two", `{"abort":{"http_status":200,"vars":[[["arg_name","==","rose"]],[["arg_age","==","18"]]]}}`, 200, nil, ""},
		{"none of two", `{"abort":{"http_status":200,"vars":[[["arg_name","==","rose"]],[["arg_age","==","19"]]]}}`, 0, nil, ""},
		{"no condition", `{"abort":{"http_status":200,"vars":[]}}`, 0, nil, ""},
		{"only a delay", `{"delay":{"duration":0}}`, 0, nil, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", "/?name=jack&age=18")
			r, err := p.Rewrite(c)
			if err != nil || (r == nil) != (x.status == 0) {
				t.Fatal(r, err)
			}
			if r != nil && (r.Status != x.status || r.Body != x.body) {
				t.Errorf("%+v", r)
			}
			var header strings.Builder
			for name, value := range c.RespHeader.All() {
				header.WriteString(name + ": " + value + "; ")
			}
			if header.String() != x.header {
				t.Errorf("header %s", &header)
			}
		})
	}
}

func TestPercentage(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"abort":{"http_status":200,"percentage":50}}`)
	met := 0
	for range 10000 {
		if r, _ := p.Rewrite(plugintest.Request("GET", "/")); r != nil {
			met++
		}
	}
	if met < 4000 || met > 6000 {
		t.Errorf("%d of 10000", met)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"delay":{"duration":2.5},"abort":{"http_status":500}}`)
		start := time.Now()
		if r, err := p.Rewrite(plugintest.Request("GET", "/")); err != nil || r == nil || time.Since(start) != 2500*time.Millisecond {
			t.Error(r, err, time.Since(start))
		}
		c := plugintest.Request("GET", "/")
		ctx, cancel := context.WithTimeout(c.Context, time.Second)
		defer cancel()
		c.Context = ctx
		start = time.Now()
		if _, err := p.Rewrite(c); err == nil || time.Since(start) != time.Second {
			t.Error("a client that is gone was waited for", err, time.Since(start))
		}
	})
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                            "expect object to have at least 1 properties",
		`{"abort":{}}`:                  `property "http_status" is required`,
		`{"abort":{"http_status":100}}`: "expected 100 to be at least 200",
		`{"delay":{}}`:                  `property "duration" is required`,
		`{"delay":{"duration":1,"vars":[[["a","=~","b"]]]}}`: "",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"abort":{"http_status":500,"body":"x","vars":[[["arg_name","==","jack"]]],"headers":{"X-A":"1"}}}`)
	c := plugintest.Request("GET", "/?name=jack")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(c); r == nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
