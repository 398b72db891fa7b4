package responserewrite

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// rewrite sends one response through the filters, piece by piece.
func rewrite(t *testing.T, conf string, status int, fields []string, pieces ...string) (*plugins.Ctx, string) {
	t.Helper()
	p := plugintest.Build(t, &Plugin, plugintest.Env(), conf)
	c := plugintest.Request("GET", "/hello?crlf=a%0d%0aX-Evil:%201")
	plugintest.Respond(c, status, fields...).ContentLength = 5
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	for i, piece := range pieces {
		if p.BodyFilter == nil {
			body.WriteString(piece)
			continue
		}
		out, err := p.BodyFilter(c, []byte(piece), i == len(pieces)-1)
		if err != nil {
			t.Fatal(err)
		}
		body.Write(out)
	}
	return c, body.String()
}

func header(c *plugins.Ctx) string {
	var l []string
	for name, value := range c.Resp.Header.All() {
		l = append(l, name+": "+value)
	}
	return strings.Join(l, "; ")
}

func compress(t *testing.T, encoding, text string) string {
	t.Helper()
	var b bytes.Buffer
	if encoding == "gzip" {
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
		return b.String()
	}
	w := brotli.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

func TestBody(t *testing.T) {
	for _, x := range []struct {
		name, conf string
		encoding   string
		pieces     []string
		want       string
	}{
		{"new", `{"body":"new body\n"}`, "", []string{"old ", "body"}, "new body\n"},
		{"empty", `{"body":""}`, "", []string{"old"}, ""},
		{"base64", `{"body":"SGVsbG8K","body_base64":true}`, "", []string{"old"}, "Hello\n"},
		{"new for unknown encoding", `{"body":"new"}`, "deflate", []string{"x"}, "new"},
		{"filter once", `{"filters":[{"regex":"hello","replace":"HELLO"}]}`, "", []string{"hel", "lo hello"}, "HELLO hello"},
		{"filter all", `{"filters":[{"regex":"L+","scope":"global","replace":"<$0>","options":"ijo"}]}`, "", []string{"hello l"}, "he<ll>o <l>"},
		{"two filters", `{"filters":[{"regex":"^a","replace":"b"},{"regex":"(b)","replace":"$1$1"}]}`, "", []string{"a"}, "bb"},
		{"no match", `{"filters":[{"regex":"x","replace":"y"}]}`, "", []string{"abc", ""}, "abc"},
		{"gzip", `{"filters":[{"regex":"hello","replace":"HELLO"}]}`, "gzip", []string{compress(t, "gzip", "hello world")}, "HELLO world"},
		{"brotli", `{"filters":[{"regex":"hello","replace":"HELLO"}]}`, "br", []string{compress(t, "br", "hello world")}, "HELLO world"},
		{"broken gzip", `{"filters":[{"regex":"a","replace":"b"}]}`, "gzip", []string{"abc"}, "abc"},
		{"unknown encoding", `{"filters":[{"regex":"a","replace":"b"}]}`, "deflate", []string{"a"}, "a"},
		{"cut", `{"filters":[{"regex":"a","replace":"b"}],"max_resp_body_size":4}`, "", []string{"xxa", "aaa", "a"}, "xxba"},
	} {
		t.Run(x.name, func(t *testing.T) {
			fields := []string{"ETag: x", "Last-Modified: y", "Content-Length: 5", "A: b"}
			if x.encoding != "" {
				fields = append(fields, "Content-Encoding: "+x.encoding)
			}
			c, body := rewrite(t, x.conf, 200, fields, x.pieces...)
			if body != x.want {
				t.Errorf("body %q, want %q", body, x.want)
			}
			if got := header(c); got != "A: b" || c.Resp.ContentLength != -1 {
				t.Errorf("header %s, length %d", got, c.Resp.ContentLength)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for _, x := range []struct{ name, conf, want string }{
		{"flat", `{"headers":{"X-Server-id":3,"X-Server-status":"on","Content-Type":""}}`, "A: b; ETag: x; X-Server-id: 3; X-Server-status: on"},
		{"all three", `{"headers":{"add":["Cache-Control: no-cache","Set-Cookie: <cookie-name>=<cookie-value>; Max-Age=1"],"set":{"a":"$status"},"remove":["ETag"]}}`,
			"a: 200; Content-Type: text/html; Cache-Control: no-cache; Set-Cookie: <cookie-name>=<cookie-value>; Max-Age=1"},
		{"line break", `{"headers":{"set":{"A":"$arg_crlf"},"remove":["ETag","Content-Type"]}}`, "A: a%0D%0AX-Evil: 1"},
		{"condition holds", `{"vars":[["status","==",200]],"headers":{"A":"c"}}`, "A: c; Content-Type: text/html; ETag: x"},
		{"condition does not hold", `{"vars":[["status","==",500]],"headers":{"A":"c"},"status_code":201,"body":"x"}`, "A: b; Content-Type: text/html; ETag: x"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, body := rewrite(t, x.conf, 200, []string{"A: b", "Content-Type: text/html", "ETag: x"}, "text")
			if got := header(c); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
			if body != "text" || c.Resp.Status != 200 || c.Resp.ContentLength != 5 {
				t.Errorf("%d, %q, length %d", c.Resp.Status, body, c.Resp.ContentLength)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	c, _ := rewrite(t, `{"status_code":301,"vars":[["status","==",200]],"headers":{"set":{"Location":"https://x/"}}}`, 200, nil, "")
	if c.Resp.Status != 301 || header(c) != "Location: https://x/" {
		t.Errorf("%d %s", c.Resp.Status, header(c))
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"status_code":599}`:                     `property "status_code" validation failed: expected 599 to be at most 598`,
		`{"body":2}`:                              `property "body" validation failed: wrong type: expected string, got number`,
		`{"body_base64":true}`:                    "invalid base64 content",
		`{"body_base64":true,"body":""}`:          "invalid base64 content",
		`{"body_base64":true,"body":"1"}`:         "invalid base64 content",
		`{"headers":{"X":true}}`:                  "invalid type as header value",
		`{"headers":{"":"x"}}`:                    "invalid field length in header",
		`{"vars":[{}]}`:                           "failed to validate the 'vars' expression: rule too short",
		`{"filters":[{"regex":"","replace":""}]}`: "string too short, expected at least 1, got 0",
		`{"filters":[{"regex":"hello","replace":"x","options":"h"}]}`: `regex "hello" validation failed: unknown flag "h" (flags "h")`,
		`{"filters":[{"regex":"(","replace":"x"}]}`:                   `regex "(" validation failed: `,
		`{"filters":[{"regex":"a","replace":"x"}],"body":"b"}`:        "value wasn't supposed to match schema",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func BenchmarkHeaderFilter(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"headers":{"set":{"X-A":"$remote_addr","X-B":"1"},"remove":["Server"]}}`)
	c := plugintest.Request("GET", "/")
	req := c.Req
	resp := plugintest.Respond(c, 200)
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Addr = req.Remote.Addr()
		c.Resp = resp
		resp.Header.Reset()
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
	}
}
