package elasticsearchlogger

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	for number, kind := range map[string]string{"8.1.2": "", "6.0.0": `,"_type":"_doc"`} {
		sink := plugintest.NewSink(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				io.WriteString(w, `{"version":{"number":"`+number+`"}}`)
			}
		}, "Authorization", "Content-Type", "X-A")
		plugintest.Log(t, &Plugin, plugintest.Env(), `{"endpoint_addr":"`+sink.URL+`","field":{"index":"i-$uri"},`+
			`"auth":{"username":"u","password":"p"},"headers":{"X-A":"a"},"log_format":{"uri":"$request_uri"}}`, "/1", "/2")
		want := []string{"GET / Basic dTpw  a ", "POST /_bulk Basic dTpw application/x-ndjson a " +
			`{"index":{"_index":"i-/1"` + kind + "}}\n" + `{"uri":"/1","route_id":"1"}` + "\n" +
			`{"index":{"_index":"i-/2"` + kind + "}}\n" + `{"uri":"/2","route_id":"1"}` + "\n"}
		if got := sink.Got(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	now := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, want := range map[string]string{
		"plain": "plain", "a-{!%Y.%m.%d}": "a-2024.02.03", "${arg_x}-{!%H:%M:%S%%}": "1-04:05:06%", "{!%F}{!%j}": "2024-02-03034",
		"$arg_x{*t}z": "1z", "open{%Y": "open{%Y", "{!%Q%}": "%Q%",
		"week-{!%G.%V}": "week-2024.05", "{!%g %u %w %U %W %C}": "24 6 6 04 05 20", "{!%r %s}": "04:05:06 AM 1706933106",
	} {
		ix, err := parseIndex(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := ix.render(plugintest.Request("GET", "/?x=1"), now); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestWeeks: the ends of a year are in weeks of another one.
func TestWeeks(t *testing.T) {
	for day, want := range map[string]string{
		"2020-12-31": "2020.53 20 4 4 52 52", "2021-01-01": "2020.53 20 5 5 00 00", "2021-01-03": "2020.53 20 7 0 01 00",
		"2021-01-04": "2021.01 21 1 1 01 01", "2019-12-30": "2020.01 20 1 1 52 52", "2023-01-01": "2022.52 22 7 0 01 00",
	} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := strftime("%G.%V %g %u %w %U %W", at); got != want {
			t.Errorf("%s: %s, want %s", day, got, want)
		}
	}
}

// TestVersionUnknown: the entries are indexed all the same, and the log says why.
func TestVersionUnknown(t *testing.T) {
	sink := plugintest.NewSink(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.WriteHeader(401)
		}
	})
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"endpoint_addr":"`+sink.URL+`","field":{"index":"i"}}`,
		"failed to get Elasticsearch version: ")
	if got := sink.Got(); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestFailure(t *testing.T) {
	sink := plugintest.NewSink(t, plugintest.Failing)
	plugintest.Complain(t, &Plugin, plugintest.Env(), `{"endpoint_addr":"`+sink.URL+`","field":{"index":"i"}}`,
		"elasticsearch server returned status: 500, body: no")
}

func TestNoAddress(t *testing.T) {
	plugintest.NoAddress(t, &Plugin, `{"endpoint_addr":"","field":{"index":"i"},"batch_max_size":1}`)
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"endpoint_addr":"http://a"}`:                                   `value should match only one schema, but matches none`,
		`{"endpoint_addr":"http://a/","field":{"index":"i"}}`:            `property "endpoint_addr" validation failed`,
		`{"endpoint_addr":"http://a","field":{"index":"${post_arg.[}"}}`: `field.index: `,
	})
}

func BenchmarkLog(b *testing.B) {
	plugintest.BenchmarkLog(b, &Plugin, `{"endpoint_addr":"http://127.0.0.1:1","field":{"index":"i"},"batch_max_size":1000000}`)
}
