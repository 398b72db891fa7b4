package mocking

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/plugins/internal/plugintest"
)

func TestExample(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"response_example":"you are $remote_addr","response_status":201,
		"content_type":"text/plain","response_headers":{"X-A":"$arg_a","X-N":100}}`)
	c := plugintest.Request("GET", "/?a=b")
	r, err := p.Access(c)
	if err != nil || r == nil || r.Status != 201 || r.Body != "you are 127.0.0.1" {
		t.Fatal(r, err)
	}
	h := &c.RespHeader
	if h.Get("X-A") != "b" || h.Get("X-N") != "100" || h.Get("Content-Type") != "text/plain" || h.Get("x-mock-by") != "APISIX/3.18.0" {
		t.Error(h)
	}
	p = plugintest.Build(t, &Plugin, plugintest.Env(), `{"response_example":"","with_mock_header":false}`)
	c = plugintest.Request("GET", "/")
	if r, err := p.Access(c); err != nil || r.Status != 200 || r.Body != "" || c.RespHeader.Has("x-mock-by") {
		t.Error(r, err)
	}
}

const randomSchema = `{"type":"object","properties":{
	"s":{"type":"string"},"n":{"type":"number"},"i":{"type":"integer"},"b":{"type":"boolean"},"l":{"type":"array","items":{"type":"string"}},
	"o":{"type":"object","properties":{"x":{"type":"String","example":"$uri & <x>"}}},
	"es":{"type":"string","example":"e"},"en":{"type":"number","example":1.5},"ei":{"type":"integer","example":2.7},"eb":{"type":"boolean","example":false},
	"nothing":{"type":"null"},"list":{"type":"array"}}}`

func TestRandom(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"response_schema":`+randomSchema+`}`)
	r, err := p.Access(plugintest.Request("GET", "/hello"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		S, ES         string
		N, EN         float64
		I, EI         int
		B, EB         *bool
		L             []string
		O             map[string]string
		Nothing, List any
	}
	if err := json.Unmarshal([]byte(r.Body.(string)), &got); err != nil {
		t.Fatal(err, r.Body)
	}
	if got.S == "" || got.I < 1 || got.B == nil || len(got.L) == 0 || got.O["x"] != "/hello & <x>" || got.ES != "e" ||
		got.EN != 1.5 || got.EI != 2 || *got.EB || got.Nothing != nil || got.List != nil {
		t.Error(r.Body)
	}
}

func TestXML(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"content_type":"text/xml","response_schema":{"type":"object","properties":{
		"a":{"type":"string","example":"<&"},"b":{"type":"object","properties":{"n":{"type":"integer","example":7},"f":{"type":"boolean","example":true}}},
		"l":{"type":"array","items":{"type":"integer","example":1}}}}}`)
	r, err := p.Access(plugintest.Request("GET", "/"))
	if err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(r.Body.(string), "<l>1</l>", "")
	if body != "<data><a>&lt;&amp;</a><b><f>true</f><n>7</n></b></data>" {
		t.Error(r.Body)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"response_example":"x","delay":3}`)
		start := time.Now()
		if r, err := p.Access(plugintest.Request("GET", "/")); r == nil || err != nil || time.Since(start) != 3*time.Second {
			t.Error(r, err, time.Since(start))
		}
		p = plugintest.Build(t, &Plugin, plugintest.Env(), `{"response_example":"x","delay":9300000000}`)
		c := plugintest.Request("GET", "/")
		ctx, cancel := context.WithTimeout(c.Context, time.Hour)
		defer cancel()
		c.Context, start = ctx, time.Now()
		if r, err := p.Access(c); err == nil || time.Since(start) != time.Hour {
			t.Error("a delay of centuries:", r, err, time.Since(start))
		}
	})
}

func TestConfiguration(t *testing.T) {
	deep := strings.Repeat(`{"type":"array","items":`, 12) + `{"type":"string"}` + strings.Repeat("}", 12)
	for conf, want := range map[string]string{
		`{}`: "object matches none of the required",
		`{"response_example":"x","content_type":"image/png"}`:                   "unsupported content type!",
		`{"response_example":"x","content_type":"text/plain;\r\nX: y"}`:         "unsupported content type!",
		`{"response_schema":{"type":"object","properties":{"a":` + deep + `}}}`: "nested too deeply",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"response_example":"hello","response_headers":{"X-A":"b"}}`)
	c := plugintest.Request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		c.RespHeader.Reset()
		if r, err := p.Access(c); r == nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
