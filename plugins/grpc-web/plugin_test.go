package grpcweb

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

const message = "\x00\x00\x00\x00\x07\x0a\x05hello"

// request is a call of the service's method, with body.
func request(mime, body string) *plugins.Ctx {
	c := plugintest.Request("POST", "/grpc/web/a.S/M", "Content-Type: "+mime)
	c.Params = append(c.Params, plugins.Param{Name: ":ext", Value: "a.S/M"})
	c.SetBody([]byte(body))
	return c
}

func TestAccess(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"max_req_body_size":40}`)
	text := base64.StdEncoding.EncodeToString([]byte(message))
	pieces := base64.StdEncoding.EncodeToString([]byte(message[:5])) + base64.StdEncoding.EncodeToString([]byte(message[5:]))
	for _, x := range []struct {
		name, mime, body string
		status           int // 0: goes on
	}{
		{"binary", "application/grpc-web", message, 0},
		{"binary, named", "application/grpc-web+proto", message, 0},
		{"text", "application/grpc-web-text", text, 0},
		{"text in pieces", "application/grpc-web-text+proto", pieces, 0},
		{"text without padding", "application/grpc-web-text", strings.TrimRight(text, "="), 0},
		{"no base64", "application/grpc-web-text", "AA!A", 400},
		{"padding in the middle of a group", "application/grpc-web-text", "A=AA", 400},
		{"another type", "application/json", "{}", 400},
		{"type with parameter", "application/grpc-web; charset=utf-8", message, 400},
		{"no body", "application/grpc-web", "", 400},
		{"too long", "application/grpc-web", strings.Repeat("x", 41), 400},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := request(x.mime, x.body)
			r, err := p.Access(c)
			if err != nil || (r == nil) != (x.status == 0) || r != nil && (r.Status != x.status || r.Body != nil) {
				t.Fatal(r, err)
			}
			if r != nil {
				return
			}
			sent, _ := c.BufferedBody()
			if string(sent) != message || c.UpstreamURI != "/a.S/M" || c.Rewritten != "/a.S/M" || c.Req.Header.Get("Content-Type") != "application/grpc" {
				t.Errorf("%q %s", sent, c.UpstreamURI)
			}
		})
	}
	c := request("application/grpc-web", message)
	c.Params = nil
	if r, err := p.Access(c); r != nil || err != nil || c.UpstreamURI != "" {
		t.Errorf("a route without wildcard: %v %v %s", r, err, c.UpstreamURI)
	}
	if r, err := p.Access(plugintest.Request("GET", "/")); err != nil || r == nil || r.Status != 405 {
		t.Errorf("GET: %v %v", r, err)
	}
}

func TestPreflight(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"cors_allow_headers":"x-a"}`)
	c := plugintest.Request("OPTIONS", "/")
	if r, err := p.Access(c); err != nil || r == nil || r.Status != 204 {
		t.Fatal(r, err)
	}
	h := &plugintest.Respond(c, 204, "Content-Type: text/plain").Header
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "x-a",
		"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "grpc-message,grpc-status", "Content-Type": "text/plain"} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if b, err := p.BodyFilter(c, []byte("x"), true); string(b) != "x" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

func TestAnswer(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	for _, x := range []struct {
		name, mime string
		fields     []string
		trailer    [][2]string
		want       string // decoded
	}{
		{"fine", "application/grpc-web", nil, [][2]string{{"Grpc-Status", "0"}}, message + message + "\x80\x00\x00\x00\x1egrpc-status:0\r\ngrpc-message:\r\n"},
		{"failed", "application/grpc-web-text", nil, [][2]string{{"Grpc-Message", "no"}, {"Grpc-Status", "5"}, {"X-More", "y"}},
			message + message + "\x80\x00\x00\x00\x2agrpc-status:5\r\ngrpc-message:no\r\nx-more:y\r\n"},
		{"no status", "application/grpc-web", nil, nil, message + message + "\x80\x00\x00\x00\x3fgrpc-status:2\r\ngrpc-message:upstream grpc status not received\r\n"},
		{"status in the header", "application/grpc-web-text+proto", []string{"grpc-status: 13"}, nil, message + message},
	} {
		t.Run(x.name, func(t *testing.T) {
			body := message
			text := strings.Contains(x.mime, "text")
			if text {
				body = base64.StdEncoding.EncodeToString([]byte(body))
			}
			c := request(x.mime, body)
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			resp := plugintest.Respond(c, 200, append(x.fields, "Access-Control-Allow-Origin: http://a", "Content-Length: 1", "Trailer: Grpc-Status")...)
			if err := p.HeaderFilter(c); err != nil {
				t.Fatal(err)
			}
			h := &resp.Header
			if h.Get("Content-Type") != x.mime || h.Get("Access-Control-Allow-Origin") != "http://a" || h.Has("Content-Length") || h.Has("Trailer") || resp.ContentLength != -1 {
				t.Errorf("%v", h)
			}
			var out []byte
			for i, piece := range []string{message, message, ""} {
				if i == 2 {
					for _, f := range x.trailer {
						resp.Trailer.Add(f[0], f[1])
					}
				}
				b, err := p.BodyFilter(c, []byte(piece), i == 2)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, b...)
			}
			if text {
				var err error
				if out, err = decode(out); err != nil {
					t.Fatal(err)
				}
			}
			if string(out) != x.want || resp.Trailer.Len() != 0 {
				t.Errorf("got  %q\nwant %q", out, x.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("AAAA"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = min(max(cut, 0), len(b))
		text := base64.StdEncoding.EncodeToString(b[:cut]) + base64.StdEncoding.EncodeToString(b[cut:])
		if got, err := decode([]byte(text)); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%q: %q %v", b, got, err)
		}
		_, _ = decode(b)
	})
}

func BenchmarkCall(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{}`)
	c := request("application/grpc-web", message)
	piece := []byte(message)
	b.ReportAllocs()
	for b.Loop() {
		c.Req.Header.Set("Content-Type", "application/grpc-web")
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
		plugintest.Respond(c, 200)
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
		if _, err := p.BodyFilter(c, piece, true); err != nil {
			b.Fatal(err)
		}
	}
}
