package bodytransformer

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conf is a configuration of one side.
func conf(which, template, more string) string {
	text, _ := json.Marshal(template)
	return `{"` + which + `":{"template":` + string(text) + more + `},"max_req_body_size":100,"max_resp_body_size":100}`
}

func TestRequest(t *testing.T) {
	const greet = `{"foo":"{{name .. " world"}}","bar":{{age+10}}}`
	in64 := base64.StdEncoding.EncodeToString([]byte(greet))
	for _, x := range []struct {
		name, method, ct, body, template, more string
		status                                 int
		want                                   string // new body, or part of the answer
	}{
		{"JSON by type", "POST", "application/json", `{"name":"hello","age":20}`, greet, "", 0, `{"foo":"hello world","bar":30}`},
		{"JSON by format", "POST", "", `{"name":"hello","age":20}`, greet, `,"input_format":"json"`, 0, `{"foo":"hello world","bar":30}`},
		{"base64", "POST", "application/json", `{"name":"hello","age":20}`, in64, "", 0, `{"foo":"hello world","bar":30}`},
		{"base64, said so", "POST", "application/x-www-form-urlencoded", "name=a&age=1", in64, `,"template_is_base64":true`, 0, `{"foo":"a world","bar":11}`},
		{"base64, not read so", "POST", "application/X-WWW-form-urlencoded", "name=a", "YWJj", "", 0, "YWJj"},
		{"base64, no format", "POST", "", "x", "YWJj", "", 0, "YWJj"},
		{"base64, plain", "POST", "", "x", "YWJj=more", `,"input_format":"plain"`, 0, "abc"},
		{"GET has args", "GET", "application/json", "", "{{q}}", `,"input_format":"json"`, 0, "1"},
		{"no body", "POST", "application/json", "", "{{name}}-{{_ctx.var.arg_q}}", "", 0, "-1"},
		{"XML", "POST", "text/xml; charset=utf-8", "<a:r xmlns:a='u'><a:n>x</a:n></a:r>", "{{r.n}}", "", 0, "x"},
		{"multipart", "POST", "multipart/Related; boundary=b", "--b\n" + `Content-Disposition: form-data; name="n"` + "\n\nv\n--b--", "{{n}}", "", 0, "v"},
		{"no format", "POST", "text/plain", "text", "<{{_body}}>", "", 0, "<text>"},
		{"no XML", "POST", "application/json", `{"name":"hello"}`, greet, `,"input_format":"xml"`, 400, "request body decode: Error Parsing XML"},
		{"no JSON", "POST", "application/json", `{"name`, greet, "", 400, "request body decode: Expected"},
		{"template does not compile", "POST", "application/json", "{}", "{% if %}", "", 503, "request template compile: "},
		{"template fails", "POST", "application/json", `{"name":"x"}`, "{{name()}}", "", 503, "request template rendering: "},
		{"too long", "POST", "", strings.Repeat("x", 101), "x", "", 413, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), conf("request", x.template, x.more))
			c := plugintest.Request(x.method, "/p?q=1", "Content-Type: "+x.ct)
			c.SetBody([]byte(x.body))
			r, err := p.Rewrite(c)
			if err != nil {
				t.Fatal(err)
			}
			if x.status == 0 {
				if got, _ := c.BufferedBody(); r != nil || string(got) != x.want || c.Req.ContentLength != int64(len(got)) {
					t.Errorf("%v %q", r, got)
				}
				return
			}
			if r == nil || r.Status != x.status {
				t.Fatal(r)
			}
			m, _ := r.Body.(plugins.Message)
			if !strings.HasPrefix(m.Message, x.want) || (x.want == "") != (r.Body == nil) {
				t.Errorf("%q", m.Message)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	for _, x := range []struct{ name, template, more, ct, body, want string }{
		{"by type", "{{a}}", "", "application/json", `{"a":"x"}`, "x"},
		{"by format", "{{r.b[2]}}", `,"input_format":"xml"`, "", "<r><b>1</b><b>2</b></r>", "2"},
		{"no format", "<{*_body*}>", "", "", "text", "<text>"},
		{"status", "{{_ctx.var.status}}", "", "", "", "201"},
		{"not to be read: as it is", "{{a}}", "", "application/json", `{"a":`, `{"a":`},
		{"template fails: as it is", "{{a.b.c}}", "", "application/json", `{}`, `{}`},
		{"empty", "{*#_body*}", "", "", "", "0"},
		{"cut off", "{*#_body*}", "", "", strings.Repeat("x", 300), "100"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), conf("response", x.template, x.more))
			c := plugintest.Request("GET", "/")
			resp := plugintest.Respond(c, 201, "Content-Type: "+x.ct, "Content-Length: 3", "ETag: x", "Last-Modified: y", "Content-Encoding: z")
			if err := p.HeaderFilter(c); err != nil {
				t.Fatal(err)
			}
			if resp.Header.Len() != 1 || resp.ContentLength != -1 {
				t.Errorf("%v", resp)
			}
			var out []byte
			for body := []byte(x.body); ; body = body[7:] {
				piece, last := body, true
				if len(body) > 7 {
					piece, last = body[:7], false
				}
				b, err := p.BodyFilter(c, piece, last)
				if err != nil {
					t.Fatal(err)
				}
				if out = append(out, b...); last {
					break
				}
			}
			if string(out) != x.want {
				t.Errorf("%q", out)
			}
		})
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for _, conf := range []string{`{}`, `{"request":{}}`, `{"request":{"template":1}}`, `{"response":{"template":"x","input_format":"yaml"}}`} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil {
			t.Errorf("%s is taken", conf)
		}
	}
}

// TestApart: two routes with the same template share nothing of their requests.
func TestApart(t *testing.T) {
	env := plugintest.Env()
	text := conf("request", "{% seen = (seen or '') .. name %}{{seen}}", "")
	a, b := plugintest.Build(t, &Plugin, env, text), plugintest.Build(t, &Plugin, env, text)
	for i, p := range []plugins.Phases{a, b, a} {
		c := plugintest.Request("POST", "/", "Content-Type: application/json")
		c.SetBody([]byte(`{"name":"x"}`))
		if r, err := p.Rewrite(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if got, _ := c.BufferedBody(); string(got) != "x" {
			t.Errorf("%d: %q", i, got)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), conf("request", `{"foo":"{{name .. " world"}}","bar":{{age+10}}}`, ""))
	c := plugintest.Request("POST", "/", "Content-Type: application/json")
	body := []byte(`{"name":"hello","age":20}`)
	b.ReportAllocs()
	for b.Loop() {
		c.SetBody(body)
		if r, err := p.Rewrite(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
