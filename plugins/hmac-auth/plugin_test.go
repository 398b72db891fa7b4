package hmacauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// now is when these tests take place.
var now = time.Unix(1_700_000_000, 500)

func env() *plugins.Env { return plugintest.At(now) }

func consumers(t testing.TB) plugintest.Consumers {
	t.Helper()
	jack := plugintest.User(t, &Plugin, "jack", `{"key_id":"my-key","secret_key":"my-secret"}`)
	return plugintest.Consumers{"my-key": jack, "guest": plugintest.Consumer("anonymous", "", nil)}
}

func date(off time.Duration) string { return now.Add(off).UTC().Format(http.TimeFormat) }

// sign is the field Authorization for these lines.
func sign(algorithm, key, headers string, lines ...string) string {
	h := hmac.New(algorithms[algorithm], []byte("my-secret"))
	for _, line := range append([]string{key}, lines...) {
		fmt.Fprintf(h, "%s\n", line)
	}
	return fmt.Sprintf(`Authorization: Signature keyId="%s",algorithm="%s",headers="%s",signature="%s"`,
		key, algorithm, headers, base64.StdEncoding.EncodeToString(h.Sum(nil)))
}

const refused = "client request can't be validated"

func TestRewrite(t *testing.T) {
	d := date(0)
	plain := func(off time.Duration) []string {
		return []string{"Date: " + date(off), sign("hmac-sha256", "my-key", "@request-target date", "GET /hello?a=1", "date: "+date(off))}
	}
	for _, x := range []struct {
		name, conf string
		fields     []string
		denied     string
		consumer   string
	}{
		{"sha256", `{}`, plain(0), "", "jack"},
		{"sha1", `{}`, []string{"Date: " + d, sign("hmac-sha1", "my-key", "date", "date: "+d)}, "", "jack"},
		{"sha512", `{}`, []string{"Date: " + d, sign("hmac-sha512", "my-key", "date", "date: "+d)}, "", "jack"},
		{"host", `{"signed_headers":["host","date"]}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "host date", "host: example.com", "date: "+d)}, "", "jack"},
		{"absent field", `{}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "x-none date", "date: "+d)}, "", "jack"},
		{"own field", `{"signed_headers":["X-A"]}`, []string{"Date: " + d, "x-a: 1", sign("hmac-sha256", "my-key", "X-A", "X-A: 1")}, "", "jack"},
		{"none", `{}`, nil, refused + ": missing Authorization header", ""},
		{"another scheme", `{}`, []string{"Authorization: Basic x"}, refused + ": Authorization header does not start with 'Signature'", ""},
		{"empty", `{}`, []string{"Authorization: Signature"}, refused, ""},
		{"no signature", `{}`, []string{"Date: " + d, `Authorization: Signature keyId="my-key",algorithm="hmac-sha256"`}, refused, ""},
		{"no algorithm", `{}`, []string{"Date: " + d, `Authorization: Signature keyId="my-key",signature="x"`}, refused, ""},
		{"unknown algorithm", `{}`, []string{"Date: " + d, `Authorization: Signature keyId="my-key",algorithm="md5",headers="date",signature="x"`}, refused, ""},
		{"algorithm not allowed", `{"allowed_algorithms":["hmac-sha512"]}`, plain(0), refused, ""},
		{"unknown key", `{}`, []string{"Date: " + d, sign("hmac-sha256", "other", "date", "date: "+d)}, refused, ""},
		{"no date", `{}`, []string{sign("hmac-sha256", "my-key", "date")}, refused, ""},
		{"bad date", `{}`, []string{"Date: x", sign("hmac-sha256", "my-key", "date", "date: x")}, refused, ""},
		{"late within skew", `{}`, plain(-300 * time.Second), "", "jack"},
		{"early within skew", `{}`, plain(300 * time.Second), "", "jack"},
		{"sent again later", `{}`, plain(-301 * time.Second), refused, ""},
		{"from the future", `{}`, plain(301 * time.Second), refused, ""},
		{"narrow skew", `{"clock_skew":1}`, plain(-2 * time.Second), refused, ""},
		{"wide skew", `{"clock_skew":9223372036854775807}`, plain(-300 * time.Hour), "", "jack"},
		{"date not signed", `{}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "@request-target", "GET /hello?a=1")}, refused, ""},
		{"nothing signed", `{}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "")}, refused, ""},
		{"nothing need be signed", `{"signed_headers":[]}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "")}, "", "jack"},
		{"another date", `{}`, []string{"Date: " + date(time.Second), sign("hmac-sha256", "my-key", "date", "date: "+d)}, refused, ""},
		{"second date", `{}`, append(plain(0), "Date: "+date(time.Second)), refused, ""},
		{"another target", `{}`, []string{"Date: " + d, sign("hmac-sha256", "my-key", "@request-target date", "GET /hello", "date: "+d)}, refused, ""},
		{"signature no base64", `{}`, []string{"Date: " + d, `Authorization: Signature keyId="my-key",algorithm="hmac-sha256",headers="date",signature="!"`}, refused, ""},
		{"anonymous", `{"anonymous_consumer":"anonymous"}`, nil, "", "anonymous"},
		{"missing anonymous", `{"anonymous_consumer":"ghost"}`, nil, "Invalid user authorization", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, env(), x.conf)
			c := consumers(t).Request("GET", "/hello?a=1", append(x.fields, "X-Consumer-Username: root")...)
			plugintest.Authenticate(t, p, c, x.consumer, x.denied, `hmac realm="hmac"`)
		})
	}
}

func TestHidden(t *testing.T) {
	p := plugintest.Build(t, &Plugin, env(), `{"hide_credentials":true}`)
	c := consumers(t).Request("GET", "/", "Date: "+date(0), sign("hmac-sha256", "my-key", "date", "date: "+date(0)))
	if r, err := p.Rewrite(c); r != nil || err != nil || c.Req.Header.Has("Authorization") {
		t.Error(r, err, c.Req.Header)
	}
}

func TestBody(t *testing.T) {
	const body = `{"name":"world"}`
	sum := sha256.Sum256([]byte(body))
	right := "Digest: SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	for _, x := range []struct {
		conf, digest, body string
		status             int
	}{
		{`{"validate_request_body":true}`, right, body, 0},
		{`{"validate_request_body":true}`, right, body + " ", 401},
		{`{"validate_request_body":true}`, right, "", 401},
		{`{"validate_request_body":true}`, "", body, 401},
		{`{"validate_request_body":true}`, right + "=", body, 401},
		{`{"validate_request_body":true}`, "Digest: SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "", 0},
		{`{"validate_request_body":true,"max_req_body_size":10}`, right, body, 413},
		{`{"validate_request_body":true,"max_req_body_size":10,"anonymous_consumer":"anonymous"}`, right, body, 413},
		{`{"validate_request_body":true,"max_req_body_size":16}`, right, body, 0},
		{`{}`, "", body, 0},
	} {
		p := plugintest.Build(t, &Plugin, env(), x.conf)
		c := consumers(t).Request("POST", "/", "Date: "+date(0), sign("hmac-sha256", "my-key", "date", "date: "+date(0)))
		if x.digest != "" {
			name, value, _ := strings.Cut(x.digest, ": ")
			c.Req.Header.Add(name, value)
		}
		c.Req.Body, c.Req.ContentLength = strings.NewReader(x.body), int64(len(x.body))
		r, err := p.Rewrite(c)
		switch {
		case err != nil:
			t.Error(err)
		case x.status == 0 && r != nil, x.status != 0 && (r == nil || r.Status != x.status):
			t.Errorf("%s with %s and %q: %+v", x.conf, x.digest, x.body, r)
		case x.status == 413 && r.Body != (plugins.Message{Message: "request size 16 is greater than the maximum size 10 allowed"}):
			t.Errorf("%+v", r)
		}
	}
}

// TestEmptySecret: everybody can sign with a secret that holds nothing.
func TestEmptySecret(t *testing.T) {
	const want = `property "secret_key" is empty`
	if _, err := Plugin.NewConsumer(json.RawMessage(`{"key_id":"a","secret_key":""}`)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"allowed_algorithms":[]}`:      "expect array to have at least 1 items",
		`{"allowed_algorithms":["md5"]}`: "matches none of the enum values",
		`{"clock_skew":0}`:               "expected 0 to be at least 1",
		`{"signed_headers":[""]}`:        "string too short",
		`{"max_req_body_size":0}`:        "expected 0 to be at least 1",
	})
}

func FuzzAuthorization(f *testing.F) {
	good := strings.TrimPrefix(sign("hmac-sha256", "my-key", "date", "date: "+date(0)), "Authorization: ")
	f.Add(good)
	finder := consumers(f)
	f.Fuzz(func(t *testing.T, header string) {
		p := plugintest.Build(t, &Plugin, env(), `{}`)
		c := finder.Request("GET", "/", "Date: "+date(0))
		c.Req.Header.Set("Authorization", header)
		if r, err := p.Rewrite(c); err != nil || r == nil && !strings.Contains(header, `keyId="my-key"`) {
			t.Fatal(r, err)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, env(), `{}`)
	c := consumers(b).Request("GET", "/hello", "User-Agent: test", "Accept: */*", "Date: "+date(0),
		sign("hmac-sha256", "my-key", "@request-target date", "GET /hello", "date: "+date(0)))
	target := c.Req
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, target, c.Find(), nil)
		c.Path = "/hello"
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
