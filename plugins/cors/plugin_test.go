package cors

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// run takes one request through the phases and returns the response header,
// one "Name: value" a line.
func run(t *testing.T, conf, metadata, method string, request, response []string) (string, *plugins.Reply) {
	t.Helper()
	env := plugintest.Env()
	if metadata != "" {
		env.Metadata = json.RawMessage(metadata)
	}
	p := plugintest.Build(t, &Plugin, env, conf)
	c := plugintest.Request(method, "/hello", request...)
	reply, err := p.Rewrite(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Req.Header.Set("Origin", "http://changed.later")
	resp := plugintest.Respond(c, 200, response...)
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for name, value := range resp.Header.All() {
		lines = append(lines, name+": "+value)
	}
	return strings.Join(lines, "\n"), reply
}

func lines(l ...string) string { return strings.Join(l, "\n") }

func TestHeaders(t *testing.T) {
	const metadata = `{"allow_origins":{"key_1":"http://foo.com,http://bar.com","all":"*"}}`
	all := func(origin, vary string, more ...string) string {
		var l []string
		if vary != "" {
			l = append(l, "Vary: Origin")
		}
		l = append(l, "Access-Control-Allow-Origin: "+origin, "Access-Control-Allow-Methods: *",
			"Access-Control-Max-Age: 5")
		return lines(append(l, append(more, "Access-Control-Allow-Headers: *")...)...)
	}
	origin := func(o string) []string { return []string{"Origin: " + o} }
	for _, x := range []struct {
		name, conf, metadata string
		request              []string
		want                 string
	}{
		{"default", `{}`, "", nil, all("*", "")},
		{"default with origin", `{}`, "", origin("http://a.com"), all("*", "")},
		{"expose", `{"expose_headers":"X-A"}`, "", nil, all("*", "", "Access-Control-Expose-Headers: X-A")},
		{"one origin", `{"allow_origins":"http://a.com"}`, "", origin("http://a.com"), all("http://a.com", "v")},
		{"another origin", `{"allow_origins":"http://a.com"}`, "", origin("http://b.com"), "Vary: Origin"},
		{"no origin", `{"allow_origins":"http://a.com"}`, "", nil, "Vary: Origin"},
		{"null", `{"allow_origins":"null"}`, "", origin("null"), all("null", "v")},
		{"list", `{"allow_origins":"http://a.com,http://b.com"}`, "", origin("http://b.com"), all("http://b.com", "v")},
		{"not in the list", `{"allow_origins":"http://a.com,http://b.com"}`, "", origin("http://c.com"), "Vary: Origin"},
		{"forced", `{"allow_origins":"**"}`, "", origin("http://c.com"), all("http://c.com", "v")},
		{"forced without origin", `{"allow_origins":"**"}`, "", nil, all("*", "v")},
		{"regex", `{"allow_origins_by_regex":[".*\\.test.com$"]}`, "", origin("http://a.test.com"), all("http://a.test.com", "")},
		{"second regex", `{"allow_origins_by_regex":["x","\\.test.com$"]}`, "", origin("http://a.test.com"), all("http://a.test.com", "")},
		{"regex does not match", `{"allow_origins_by_regex":[".*\\.test.com$"]}`, "", origin("http://a.test.com.evil"), ""},
		{"regex, no origin", `{"allow_origins_by_regex":["."]}`, "", nil, ""},
		{"metadata", `{"allow_origins_by_metadata":["key_1"]}`, metadata, origin("http://bar.com"), all("http://bar.com", "")},
		{"metadata, all", `{"allow_origins_by_metadata":["none","all"]}`, metadata, origin("http://x.com"), all("http://x.com", "")},
		{"metadata, other", `{"allow_origins_by_metadata":["key_1"]}`, metadata, origin("http://x.com"), ""},
		{"metadata, no origin", `{"allow_origins_by_metadata":["key_1"]}`, metadata, nil, ""},
		{"metadata, then list", `{"allow_origins":"http://x.com","allow_origins_by_metadata":["key_1"]}`, metadata,
			origin("http://x.com"), all("http://x.com", "v")},
		{"no metadata", `{"allow_origins_by_metadata":["key_1"]}`, "", origin("http://foo.com"), ""},
		{"credentials", `{"allow_origins":"**","allow_methods":"**","allow_headers":"**","allow_credential":true,"max_age":-1}`, "",
			[]string{"Origin: http://a.com", "Access-Control-Request-Headers: req-header1,req-header2"},
			lines("Vary: Origin", "Access-Control-Allow-Origin: http://a.com",
				"Access-Control-Allow-Methods: GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE",
				"Access-Control-Max-Age: -1", "Access-Control-Allow-Headers: req-header1,req-header2",
				"Access-Control-Allow-Credentials: true")},
		{"timing", `{"allow_origins":"http://x.com","timing_allow_origins":"*"}`, "", origin("http://a.com"),
			lines("Vary: Origin", "Timing-Allow-Origin: *")},
		{"timing, one", `{"allow_origins":"http://x.com","timing_allow_origins":"http://a.com"}`, "", origin("http://a.com"),
			lines("Vary: Origin", "Timing-Allow-Origin: http://a.com")},
		{"timing, other", `{"allow_origins":"http://x.com","timing_allow_origins":"http://a.com,http://b.com"}`, "",
			origin("http://c.com"), "Vary: Origin"},
		{"timing, regex", `{"allow_origins":"http://x.com","timing_allow_origins":"*","timing_allow_origins_by_regex":["b.com"]}`, "",
			origin("http://b.com"), lines("Vary: Origin", "Timing-Allow-Origin: http://b.com")},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got, _ := run(t, x.conf, x.metadata, "GET", x.request, nil); got != x.want {
				t.Errorf("got\n%s\nwant\n%s", got, x.want)
			}
		})
	}
}

func TestUpstreamHeadersAreReplaced(t *testing.T) {
	got, _ := run(t, `{"allow_headers":"**"}`, "", "GET", nil, []string{
		"Access-Control-Allow-Origin: http://upstream", "Access-Control-Allow-Headers: x", "Vary: Via"})
	want := lines("Access-Control-Allow-Origin: *", "Vary: Via", "Access-Control-Allow-Methods: *", "Access-Control-Max-Age: 5")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPreflight(t *testing.T) {
	got, reply := run(t, `{}`, "", "OPTIONS", []string{"Origin: http://a.com"}, nil)
	if reply == nil || reply.Status != 200 || reply.Body != nil {
		t.Errorf("reply %+v", reply)
	}
	if !strings.Contains(got, "Access-Control-Allow-Origin: *") {
		t.Error(got)
	}
	if _, reply := run(t, `{}`, "", "GET", nil, nil); reply != nil {
		t.Errorf("reply %+v to GET", reply)
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"allow_credential":true}`: "you can not set '*' for other option when 'allow_credential' is true",
		`{"allow_credential":true,"allow_origins":"**","allow_methods":"**","allow_headers":"**","timing_allow_origins":"*"}`: "you can not set '*'",
		`{"allow_origins_by_regex":["["]}`:        "missing",
		`{"timing_allow_origins_by_regex":["["]}`: "missing",
		`{"max_age":"3600"}`:                      `property "max_age" validation failed: wrong type: expected integer, got string`,
		`{"allow_origins":"http://foo.com,"}`:     "failed to match pattern",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func BenchmarkPhases(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"allow_origins":"http://a.com,http://b.com"}`)
	c := plugintest.Request("GET", "/", "Origin: http://b.com")
	resp := plugintest.Respond(c, 200)
	b.ReportAllocs()
	for b.Loop() {
		resp.Header.Reset()
		if _, err := p.Rewrite(c); err != nil {
			b.Fatal(err)
		}
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
	}
}
