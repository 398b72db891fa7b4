package echo

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestBody(t *testing.T) {
	for _, x := range []struct {
		name, conf string
		pieces     []string
		want       string
	}{
		{"around", `{"before_body":"<","after_body":">"}`, []string{"a", "b", ""}, "<ab>"},
		{"around one piece", `{"before_body":"<","after_body":">"}`, []string{"a"}, "<a>"},
		{"around nothing", `{"before_body":"<","after_body":">"}`, []string{""}, "<>"},
		{"before", `{"before_body":"<"}`, []string{"a", "b"}, "<ab"},
		{"after", `{"after_body":">"}`, []string{"a", "b"}, "ab>"},
		{"in its place", `{"body":"x"}`, []string{"a", "b", ""}, "x"},
		{"all", `{"before_body":"<","body":"x","after_body":">"}`, []string{"a", "b"}, "<x>"},
		{"empty", `{"body":""}`, []string{"a"}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := plugintest.Request("GET", "/")
			plugintest.Respond(c, 200, "Content-Length: 5", "ETag: x", "Last-Modified: y", "Content-Encoding: gzip", "A: b").ContentLength = 5
			if err := p.HeaderFilter(c); err != nil || c.Resp.ContentLength != -1 || c.Resp.Header.Len() != 1 {
				t.Fatal(err, c.Resp)
			}
			got := ""
			for i, piece := range x.pieces {
				out, err := p.BodyFilter(c, []byte(piece), i == len(x.pieces)-1)
				if err != nil {
					t.Fatal(err)
				}
				got += string(out)
			}
			if got != x.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for conf, want := range map[string]string{
		`{"X-A":"$uri","X-N":1.50}`: "$uri/1.50", `{"X-A":""}`: "/", `{"X-A":"b","X-N":[]}`: "old/", `{"X-A":"a\r\nb: c"}`: "old/", `{"X-A":"b","":"c"}`: "old/",
	} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"body":"x","headers":`+conf+`}`)
		c := plugintest.Request("GET", "/")
		plugintest.Respond(c, 200, "X-A: old")
		if err := p.HeaderFilter(c); err != nil {
			t.Fatal(err)
		}
		if got := c.Resp.Header.Get("X-A") + "/" + c.Resp.Header.Get("X-N"); got != want {
			t.Errorf("%s: %s", conf, got)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for _, conf := range []string{`{}`, `{"headers":{"a":"b"}}`, `{"body":1}`, `{"body":"x","headers":{}}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Error(conf)
		}
	}
}

func BenchmarkFilters(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"body":"x","headers":{"a":"b"}}`)
	c := plugintest.Request("GET", "/")
	plugintest.Respond(c, 200)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
		if _, err := p.BodyFilter(c, nil, true); err != nil {
			b.Fatal(err)
		}
	}
}
