package requestvalidation

import (
	"strings"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func request(body string, fields ...string) *plugins.Ctx {
	c := plugintest.Request("POST", "/", fields...)
	c.Req.Body, c.Req.ContentLength = strings.NewReader(body), int64(len(body))
	return c
}

const bodySchema = `"body_schema":{"type":"object","required":["name"],"properties":{
	"name":{"type":"string"},"kind":{"type":"string","default":"plain"}}}`

func TestBody(t *testing.T) {
	for _, x := range []struct {
		name, conf, body string
		fields           []string
		status           int
		want             any // body of the refusal, or what goes upstream
	}{
		{"fits", `{` + bodySchema + `}`, `{"name":"a"}`, nil, 0, `{"kind":"plain","name":"a"}`},
		{"does not fit", `{` + bodySchema + `}`, `{"name":1}`, nil, 400, `property "name" validation failed: wrong type: expected string, got number`},
		{"message", `{` + bodySchema + `,"rejected_msg":"no","rejected_code":422}`, `{}`, nil, 422, "no"},
		{"no body", `{` + bodySchema + `}`, ``, nil, 400, nil},
		{"too long", `{` + bodySchema + `,"max_req_body_size":5}`, `{"name":"a"}`, nil, 400, nil},
		{"too long, message", `{` + bodySchema + `,"max_req_body_size":5,"rejected_msg":"no"}`, `{"name":"a"}`, nil, 400, "no"},
		{"no JSON", `{` + bodySchema + `,"rejected_msg":"no"}`, `{"name"`, nil, 400, "no"},
		{"two values", `{` + bodySchema + `,"rejected_msg":"no"}`, `{"name":"a"}{}`, nil, 400, "no"},
		{"two members of a name", `{` + bodySchema + `}`, `{"name":1,"name":"a"}`, nil, 0, `{"kind":"plain","name":"a"}`},
		{"form", `{` + bodySchema + `}`, `name=a+b%20c&x`, []string{"Content-Type: Application/x-www-form-urlencoded; a=b"}, 0, `name=a+b%20c&x`},
		{"form, name twice", `{` + bodySchema + `,"rejected_msg":"no"}`, `name=a&name=b`, []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "no"},
		{"form, flag", `{` + bodySchema + `,"rejected_msg":"no"}`, `name`, []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "no"},
		{"two types", `{` + bodySchema + `}`, `{"name":"a"}`, []string{"Content-Type: application/json", "content-type: text/plain"}, 400, nil},
		{"any table", `{"body_schema":{"type":"table"}}`, `[1]`, nil, 0, `[1]`},
		{"no function", `{"body_schema":{"type":"function"},"rejected_msg":"no"}`, `[1]`, nil, 400, "no"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), x.conf)
			c := request(x.body, x.fields...)
			r, err := p.Rewrite(c)
			if err != nil || (r == nil) != (x.status == 0) {
				t.Fatal(r, err)
			}
			if r != nil {
				if r.Status != x.status || r.Body != x.want {
					t.Errorf("%d %v", r.Status, r.Body)
				}
				return
			}
			if b, err := c.Body(0); err != nil || string(b) != x.want || c.Req.ContentLength != int64(len(b)) {
				t.Errorf("%s %v", b, err)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"header_schema":{"type":"object","required":["X-Client"],
		"properties":{"X-Client":{"type":"string","pattern":"^[0-9]+$"},"host":{"enum":["example.com"]}}}}`)
	for field, fits := range map[string]bool{"x-client: 1": true, "X-CLIENT: 2": true, "X-Client: a": false, "X-Other: 1": false} {
		c := plugintest.Request("GET", "/", field)
		if r, err := p.Rewrite(c); err != nil || (r == nil) != fits {
			t.Error(field, r, err)
		}
	}
	if r, err := p.Rewrite(plugintest.Request("GET", "/", "X-Client: 1", "x-client: 2")); err != nil || r == nil {
		t.Error("a repeated field passed as a text", err)
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{}`:                                                   "object matches none of the required",
		`{"body_schema":{"type":"test"}}`:                      "invalid JSON type: test",
		`{"header_schema":{"enum":"x"}}`:                       "table expected, got string",
		`{"body_schema":{"required":"x"}}`:                     "table expected, got string",
		`{"body_schema":{},"rejected_code":600}`:               "expected 600 to be at most 599",
		`{"body_schema":{"properties":{"a":{"pattern":"("}}}}`: "",
	} {
		if _, err := plugintest.Try(&Plugin, plugintest.Env(), conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

// shaped are schemas of which there are shapes.
var shaped = []string{
	`{}`, `{"type":"object"}`, `{"type":["object","array"]}`, `{"type":"string","maxLength":3,"minLength":1}`, `{"enum":["a","b"]}`,
	`{"type":"object","required":["name","age"],"additionalProperties":false,"properties":{"name":{"type":"string","enum":["a","b"]},
		"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"type":"string","minLength":1}},"rate":{"type":"number"},
		"on":{"type":"boolean"},"none":{"type":"null"},"any":{},"in":{"type":"object","required":["x"],"properties":{"x":{"type":["string","null"]}}}}}`,
}

var bodies = []string{
	`{"name":"a","age":7,"tags":["x","y"],"rate":1.5,"on":true,"none":null,"any":[{"a":[1]}],"in":{"x":null,"y":2}}`,
	` { "name" : "b" , "age" : 0 } `, `"abc"`, `"é"`, `"a"`, `[1,-2,3.5]`, `{"a":{"b":{"c":1}}}`, `{"name":"a","age":150}`,
	`{"name":"a"}`, `{"name":"c","age":1}`, `{"name":"a","age":1.0}`, `{"name":"a","age":151}`, `{"name":"a","age":1,"more":1}`, `{"name":"a","name":"a","age":1}`,
	`{"name":"a","age":01}`, `{"name":"a","age":-}`, `{"name":"a","age":1}x`, `{"name":"a","age":1`, `{"a":1,"a":1}`, `{"a":"\u0041"}`, `[]`, `{}`, `"abcd"`, `""`,
	`{"name":"a","age":1,"tags":[""]}`, `{"name":"a","age":1,"in":{}}`, `{"name":"a","age":1,"on":1}`, "\"\xff\"", `1e3`, `12345678901234567`, `nul`, `{"a" 1}`, `{1:1}`, `[1 2]`, "",
}

// TestShapes: a shape never takes what its schema refuses, and takes the common documents.
func TestShapes(t *testing.T) {
	taken := 0
	for _, text := range shaped {
		for _, body := range bodies {
			if agrees(t, text, body) {
				taken++
			}
		}
	}
	if taken < 30 {
		t.Errorf("only %d documents are taken", taken)
	}
	for _, text := range []string{`{"default":1}`, `{"properties":{"a":{"pattern":"x"}}}`, `{"items":[{}]}`, `{"minimum":1.5}`, `{"enum":[1]}`, `true`,
		`{"not":{}}`, `{"type":"x"}`, `{"additionalProperties":{}}`, `{"required":[1]}`, `{"minimum":1e20}`} {
		doc, err := decode([]byte(text))
		if err != nil || newShape(doc) != nil {
			t.Errorf("%s has a shape (%v)", text, err)
		}
	}
}

// agrees reports whether the shape takes the body, and fails when only the shape does.
func agrees(t *testing.T, text, body string) bool {
	t.Helper()
	s, shape, err := compile("x", []byte(text))
	if err != nil || shape == nil {
		t.Fatalf("%s: %v %v", text, shape, err)
	}
	if !shape.fits([]byte(body)) {
		return false
	}
	doc, err := decode([]byte(body))
	if err == nil {
		_, err = s.Apply(doc)
	}
	if err != nil {
		t.Errorf("%s takes %q: %v", text, body, err)
	}
	return true
}

func TestHeaderShape(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"header_schema":{"type":"object","required":["X-Client","host"],
		"properties":{"X-Client":{"type":"string","enum":["a","b"]},"x-n":{"type":"number"},"x-s":{"minLength":2}}},"rejected_msg":"no"}`)
	for fields, fits := range map[string]bool{"x-client: a": true, "X-CLIENT: c": false, "X-Client: a|X-Client: b": false, "X-Other: 1": false,
		"X-Client: a|X-N: 1": false, "X-Client: b|x-s: é1": true, "X-Client: b|x-s: 1": false} {
		c := plugintest.Request("GET", "/", strings.Split(fields, "|")...)
		if r, err := p.Rewrite(c); err != nil || (r == nil) != fits {
			t.Error(fields, r, err)
		}
	}
}

func FuzzShapes(f *testing.F) {
	for _, body := range bodies {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, text := range shaped {
			agrees(t, text, body)
		}
	})
}

func FuzzBody(f *testing.F) {
	p := plugintest.Build(f, &Plugin, plugintest.Env(), `{`+bodySchema+`}`)
	f.Add(`{"name":"a"}`, "application/json")
	f.Add("name=a&name=%4", "application/x-www-form-urlencoded")
	f.Fuzz(func(t *testing.T, body, kind string) {
		if _, err := p.Rewrite(request(body, "Content-Type: "+kind)); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	for name, body := range map[string]string{
		"simple":  `"body_schema":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0}}}`,
		"default": bodySchema,
	} {
		b.Run(name, func(b *testing.B) {
			p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"header_schema":{"type":"object","required":["x-a"]},`+body+`}`)
			c := request(`{"name":"a","age":7}`, "X-A: 1")
			if _, err := c.Body(0); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r, err := p.Rewrite(c); r != nil || err != nil {
					b.Fatal(r, err)
				}
			}
		})
	}
}
