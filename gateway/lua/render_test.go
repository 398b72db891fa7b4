package lua

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// render renders text with in.
func render(t *testing.T, h *Host, text string, in Input) (string, error) {
	t.Helper()
	tpl, err := h.Template(text)
	if err != nil {
		return "", err
	}
	defer tpl.Close()
	b, err := tpl.Render(request("/p?a=x&b=1&b=2", "Content-Type: text/plain"), "rewrite", in)
	return string(b), err
}

func TestTemplate(t *testing.T) {
	h := host(t, Options{})
	const person = `{"name":"<Ann & 'Bob'/>","age":7,"list":[1,2,3],"none":null,"yes":true,"no":false,"sub":{"x":"y"}}`
	for _, x := range []struct{ text, want string }{
		{"plain é \x00 \"quoted\"\\ ]=] text\n", "plain é \x00 \"quoted\"\\ ]=] text\n"},
		{"{{name}}|{*name*}|{{age+10}}|{*none*}|{{nothing}}|{*yes*}", "&lt;Ann &amp; &#39;Bob&#39;&#47;&gt;|<Ann & 'Bob'/>|17|||true"},
		{"{{no}}|{* no *}|{{ tostring(no) }}", "||nil"},
		{"a\n  {% for i, v in ipairs(list) do %}\n<{*v*}>\n  {% end %}\nb", "a\n<1>\n<2>\n<3>\nb"},
		{"{% if age > 5 then %}big{% else %}small{% end %}", "big"},
		{"x{# a comment }} #}\ny", "xy"},
		{"{-raw-}{{name}}{-raw-}\nz", "{{name}}z"},
		{"{-verbatim-}{*name*}{-verbatim-}", "{*name*}"},
		{"{-part-}\n[{{age}}]\n{-part-}\n{*blocks.part*}", "\n[7]"},
		{`\{{name}} \\{*age*} \{% x %} \{-raw-}`, `{{name}} \7 {% x %} \{-raw-}`},
		{"{([{{age}}])}|{(<{{x}}>, sub)}", "[7]|<y>"},
		{"{['v'..age..'{{age}}']}", "v77"},
		{"{% layout = '<{*view*}{*age*}>' %}inner", "<inner7>"},
		{"{% echo(age, 'x') echo(none) %}", "7xuserdata: NULL"},
		{"{% context.age = context.age + 1 context.list = nil %}{*context.age*}{*age*}", "88"},
		{"{% local y = require([[lyaml]]).load([[a: {b: [1, x]}]]) %}{*y.a.b[1]*}{*y.a.b[2]*}", "1x"},
		{"{* function() return function() return 'f' end end *}", "f"},
		{"{{'{}'}}{*_escape_xml(name)*}", "{}&lt;Ann &amp; &apos;Bob&apos;/&gt;"},
		{"{{_escape_xml('a&{\"')}}", "a&amp;amp;&#123;&amp;quot;"},
		{"{*_escape_json(sub)*}{*_escape_json('a/\"')*}", `{"x":"y"}"a/\""`},
		{"{*_ctx.var.uri*} {*_ctx.var.arg_a*} {*#_body*}", "/p x 98"},
		{"{*require('cjson').encode(context.sub)*}{*string.upper(sub.x)*}{*ngx.var.uri*}", `{"x":"y"}Y/p`},
		{"{% x = 1 local y = 2 %}{*x+y*}", "3"},
		{"{% function twice(v) return v .. v end %}{*twice(age)*}", "77"},
		{"{{ open", "{{ open"}, {"{", "{"}, {"a{b}c{", "a{b}c{"}, {"{}", "{}"}, {"", ""},
	} {
		got, err := render(t, h, x.text, Input{Body: []byte(person), Format: "json"})
		if err != nil || got != x.want {
			t.Errorf("%q:\n got %q, %v\nwant %q", x.text, got, err, x.want)
		}
	}
}

func TestTemplateInputs(t *testing.T) {
	h := host(t, Options{})
	const parts = "--b1\r\nContent-Disposition: form-data; name=\"n\"\r\nX-A: 1\r\n\r\nv\r\nw\r\n--b1\nContent-Disposition: form-data; name=\"m\"\n\n1\n" +
		"--b1\r\nContent-Disposition: form-data; name=\"m\"\r\n\r\n2\r\n--b1--\r\nrest"
	for _, x := range []struct{ format, ct, body, text, want string }{
		{"args", "", "ignored", "{*a*}{*b[2]*}", "x2"},
		{"encoded", "", "a=1&b=%20x&c&a=2", "{*a[1]*}{*a[2]*}{*b*}{*c*}", "12 xtrue"},
		{"plain", "", "text", "{*_body*}{*text*}", "text"},
		{"", "", `{"a":1}`, "{*_body*}{*a*}", `{"a":1}`},
		{"json", "", `[5,6]`, "{*context[2]*}", "6"},
		{"multipart", "multipart/related; boundary=b1", parts, "{*n*}|{*m[1]*}{*m[2]*}|{*_multipart:get('n').headers[2]*}", "v\r\nw|12|X-A: 1"},
		{"multipart", `multipart/form-data; boundary="b1"`, parts, "{% _multipart:set_simple('n','new') _multipart:delete('m') _multipart:set_simple('f','x','a.txt','text/plain') %}{*_multipart:tostring()*}",
			"--b1\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nnew\r\n--b1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\nx\r\n--b1--\r\n"},
		{"multipart", "multipart/form-data; boundary=no", parts, "<{*n*}{*_multipart:tostring()*}>", "<>"},
		{"multipart", "multipart/form-data", parts, "<{*n*}>", "<>"},
		{"multipart", "multipart/related; boundary=b1", parts, "{*_multipart:get_as_array('m')[2]*}{*_multipart:get_all().m*}{*#_multipart:get_all_as_arrays().n*}{*_multipart:get_all_include_headers_with_arrays().n[1].headers['x-a']*}", "2111"},
		{"xml", "", `<?xml version="1.0"?><!DOCTYPE a><s:a xmlns:s="u"><s:b>1 &lt; 2</s:b><s:b x:i="7">t</s:b><c/><d><e><![CDATA[ <x> ]]></e></d><!-- no --></s:a>`,
			"{*a.b[1]*}|{*a.b[2][1]*}{*a.b[2]._attr.i*}|<{*a.c*}>|{*a.d.e*}|{*a._attr.s*}", "1 < 2|t7|<>| <x> |u"},
		{"xml", "", "<a>x<b>1</b></a>", "{*a*}", "x"},
		{"xml", "", "<a>&unknown;</a>", "{*a*}", "&unknown;"},
		{"json", "", `{"_ctx":1,"_body":1,"_escape_xml":1,"_escape_json":1,"_multipart":1,"string":"s"}`, "{*_escape_json(string)*}{*_multipart*}{*#_body*}", `"s"81`},
	} {
		got, err := render(t, h, x.text, Input{Body: []byte(x.body), Format: x.format, ContentType: x.ct})
		if err != nil || got != x.want {
			t.Errorf("%s %q:\n got %q, %v\nwant %q", x.format, x.text, got, err, x.want)
		}
	}
	if got, err := render(t, h, "<{*x*}{*_body*}>", Input{Format: "json"}); err != nil || got != "<>" {
		t.Errorf("no body: %q %v", got, err)
	}
}

func TestTemplateFaults(t *testing.T) {
	h := host(t, Options{Budget: time.Minute, Output: 1 << 20})
	quick := host(t, Options{Budget: 50 * time.Millisecond})
	if _, err := render(t, quick, "{% while true do end %}", Input{}); err == nil || !strings.Contains(err.Error(), "time budget exceeded") {
		t.Errorf("endless: %v", err)
	}
	for _, x := range []struct{ format, body, text, want string }{
		{"json", "{", "x", "Expected"}, {"json", "1", "x", "table expected, got number"},
		{"xml", `{"a":1}`, "x", "Error Parsing XML [char=1]"}, {"xml", "<a>", "x", "Incomplete XML Document"},
		{"xml", "<a></b>", "x", "Unbalanced Tag (/b)"}, {"xml", "</b>", "x", "Unbalanced Tag (/b)"}, {"xml", "<a/>x", "x", "Error Parsing XML"},
		{"xml", strings.Repeat("<a>", 2000), "x", "Too many nested elements"},
		{"xml", `<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, "{*a*}{*a()*}", "non-function"},
		{"plain", "", "{*a.b*}", "index"},
		{"plain", "", "{['{[_body]}']}{*_body()*}", ""},
		{"plain", "{[_body]}", "{[_body]}", "more than 50 deep"},
		{"plain", "", "{% if %}", "[string \"template\"]"},
		{"plain", "x", "{% for i = 1, 21 do _body = _body .. _body end for i = 1, 3 do %}{*_body*}{% end %}", ""},
	} {
		_, err := render(t, h, x.text, Input{Body: []byte(x.body), Format: x.format})
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s %.40q: %v", x.format, x.text, err)
		}
		var bad *DecodeError
		if errors.As(err, &bad) != (x.text == "x") {
			t.Errorf("%q: %T", x.text, err)
		}
	}
	if got, err := render(t, h, "{*x*}{*y*}", Input{Format: "json", Body: []byte(`{"x":1}`)}); err != nil || got != "1" {
		t.Errorf("afterwards: %q %v", got, err)
	}
}

// TestTemplatesApart: nothing of one rendering is seen by the next.
func TestTemplatesApart(t *testing.T) {
	h := host(t, Options{States: 1})
	first, err := h.Template("{% kept = secret ngx.ctx.x = secret string.leak = secret %}{*secret*}")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for _, text := range []string{"{*kept*}{*secret*}{*_ctx.x*}{*string.leak*}"} {
		second, err := h.Template(text)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if _, err := first.Render(request("/"), "rewrite", Input{Format: "json", Body: []byte(`{"secret":"s3cret"}`)}); err != nil {
			t.Fatal(err)
		}
		if got, err := second.Render(request("/"), "rewrite", Input{Format: "json", Body: []byte(`{}`)}); err != nil || string(got) != "" {
			t.Errorf("%q %v", got, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(`a{{b}}{% if c then %}{-x-}y{-x-}{(z)}\{*`, `{"b":1}`)
	h := New(Options{Budget: 20 * time.Millisecond, Output: 1 << 16})
	f.Cleanup(h.Close)
	f.Fuzz(func(t *testing.T, text, body string) {
		tpl, err := h.Template(text)
		if err != nil {
			return
		}
		defer tpl.Close()
		for _, format := range []string{"json", "xml", "multipart", "encoded"} {
			_, _ = tpl.Render(request("/"), "rewrite", Input{Body: []byte(body), Format: format, ContentType: "a; boundary=b"})
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	h := host(b, Options{})
	tpl, err := h.Template(`{"foo":"{{name .. " world"}}","bar":{{age+10}}}`)
	if err != nil {
		b.Fatal(err)
	}
	defer tpl.Close()
	c := request("/")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tpl.Render(c, "rewrite", Input{Format: "json", Body: []byte(`{"name":"hello","age":20}`)}); err != nil {
			b.Fatal(err)
		}
	}
}
