package headerop

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/plugins/internal/plugintest"
)

func fields(t *testing.T, text string) Fields {
	t.Helper()
	var f Fields
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestIsFlat(t *testing.T) {
	for text, want := range map[string]bool{
		`{"A":"b"}`: true, `{"add":"b"}`: true, `{"set":1,"remove":"x"}`: true,
		`{"add":{"a":"b"}}`: false, `{"remove":["x"]}`: false, `{"add":["A: b"]}`: false,
	} {
		if got, err := IsFlat([]byte(text)); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := IsFlat([]byte(`1`)); err == nil {
		t.Error("a number was accepted")
	}
}

func TestChecks(t *testing.T) {
	for text, want := range map[string]string{
		`{"A":true}`: "invalid type as header value", `{"A":["b"]}`: "invalid type as header value",
		`{"":"b"}`: "invalid field length in header",
	} {
		if err := fields(t, text).CheckFlat(); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := fields(t, `{"A":"é"}`).CheckText(); err == nil || err.Error() != "invalid value character in header" {
		t.Errorf("%v", err)
	}
	var o Operations
	for text, want := range map[string]string{
		`{"A b":"c"}`: "invalid field character in header", `{"A":[{}]}`: "invalid type as header value",
		`{"A":"${post_arg.[}"}`: "",
	} {
		if err := o.Set(fields(t, text)); want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "$1-$2": "one-", "${1}x$10": "onex", `\$1`: `\$1`, "$remote_addr:$1": "127.0.0.1:one",
		"${none ?? d}": "d", "$": "$", "${": "${", "$arg_x": "a%0A%7Fb\tc", "a\r\nb": "a%0D%0Ab",
	} {
		v, err := parseValue(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		c := plugintest.Request("GET", "/?x=a%0a%7fb%09c")
		if got := v.render(c, []string{"whole", "one"}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzValue(f *testing.F) {
	f.Add("$1 ${http_x ?? y} \\$2", "a\r\nb")
	f.Fuzz(func(t *testing.T, text, captured string) {
		v, err := parseValue(text)
		if err != nil {
			return
		}
		c := plugintest.Request("GET", "/")
		if got := v.render(c, []string{captured, captured}); strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q with %q: %q", text, captured, got)
		}
	})
}
