package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

func compile(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Compile("test", text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// texts of errors, schema by schema; an empty text means the document passes.
var texts1 = []struct{ schema, doc, want string }{
	{`{"type":"object"}`, `1`, `wrong type: expected object, got number`},
	{`{"type":"object"}`, `[]`, ``},
	{`{"type":"array"}`, `{}`, ``},
	{`{"type":"object"}`, `[1]`, `wrong type: expected object, got table`},
	{`{"type":"string"}`, `null`, `wrong type: expected string, got userdata`},
	{`{"type":["string","integer"]}`, `true`, `wrong type: expected one of string, integer, got boolean`},
	{`{"type":"integer"}`, `1.5`, `wrong type: expected integer, got number`},
	{`{"type":"integer"}`, `1.0`, ``},
	{`{"type":"integer"}`, `1e3`, ``},
	{`{"type":"object","required":["a"],"properties":{"a":{}}}`, `{}`, `property "a" is required`},
	{`{"type":"object","required":["a"]}`, `{}`, `property "a" is required`},
	{`{"properties":{"a":{"properties":{"b":{"type":"string"}}}}}`, `{"a":{"b":1}}`,
		`property "a" validation failed: property "b" validation failed: wrong type: expected string, got number`},
	{`{"properties":{"a":{}},"additionalProperties":false}`, `{"z":1,"c":2}`, `additional properties forbidden, found c`},
	{`{"patternProperties":{"^a":{"type":"string"}}}`, `{"ab":1}`,
		`failed to validate ab (matching "^a"): wrong type: expected string, got number`},
	{`{"additionalProperties":{"type":"string"}}`, `{"ab":1}`,
		`failed to validate additional property ab: wrong type: expected string, got number`},
	{`{"minProperties":1}`, `{}`, `expect object to have at least 1 properties`},
	{`{"maxProperties":1}`, `{"a":1,"b":2}`, `expect object to have at most 1 properties`},
	{`{"type":"array","minItems":1}`, `[]`, `expect array to have at least 1 items`},
	{`{"type":"array","minItems":1}`, `{}`, `expect array to have at least 1 items`},
	{`{"type":"array","maxItems":1}`, `[1,2]`, `expect array to have at most 1 items`},
	{`{"items":{"type":"string"}}`, `["a",2]`, `failed to validate item 2: wrong type: expected string, got number`},
	{`{"items":[{"type":"string"}],"additionalItems":false}`, `["a",2]`, `found unexpected extra items in array`},
	{`{"uniqueItems":true}`, `[1,"1",1.0]`, `expected unique items but items 1 and 3 are equal`},
	{`{"uniqueItems":true}`, `[{"a":1},{"a":1}]`, `expected unique items but items 1 and 2 are equal`},
	{`{"minLength":2}`, `"é"`, `string too short, expected at least 2, got 1`},
	{`{"maxLength":1}`, `"éé"`, `string too long, expected at most 1, got 2`},
	{`{"pattern":"^\\/.*"}`, `"home"`, `failed to match pattern "^\\/.*" with "home"`},
	{`{"pattern":"^(?!a)b"}`, `"ab"`, `failed to match pattern "^(?!a)b" with "ab"`},
	{`{"pattern":"^(?!a)b"}`, `"b"`, ``},
	{`{"patternProperties":{"^(?!a)b":{"type":"string"}}}`, `{"b":1}`,
		`failed to validate b (matching "^(?!a)b"): wrong type: expected string, got number`},
	{`{"minimum":1}`, `0`, `expected 0 to be at least 1`},
	{`{"maximum":1}`, `1.5`, `expected 1.5 to be at most 1`},
	{`{"exclusiveMinimum":0}`, `0`, `expected 0 to be greater than 0`},
	{`{"minimum":0,"exclusiveMinimum":true}`, `0`, `expected 0 to be greater than 0`},
	{`{"exclusiveMaximum":3}`, `3`, `expected 3 to be smaller than 3`},
	{`{"multipleOf":0.01}`, `1.13`, ``},
	{`{"multipleOf":5}`, `7`, `expected 7 to be a multiple of 5`},
	{`{"enum":["a",1]}`, `"b"`, `matches none of the enum values`},
	{`{"enum":["a",1]}`, `1`, ``},
	{`{"const":{"a":1}}`, `{"a":2}`, `failed to check const value`},
	{`{"allOf":[{},{"type":"string"}]}`, `1`, `allOf 2 failed: wrong type: expected string, got number`},
	{`{"anyOf":[{"required":["a","b"]},{"required":["c"]}]}`, `{}`, `object matches none of the required: ["a","b"] or ["c"]`},
	{`{"anyOf":[{"type":"string"}]}`, `1`, `object matches none of the required`},
	{`{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, `value should match only one schema, but matches none`},
	{`{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{"a":1,"b":1}`,
		`value should match only one schema, but matches both schemas 1 and 2`},
	{`{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}`, `{"a":1}`, `then clause did not match`},
	{`{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}`, `{}`, `else clause did not match`},
	{`{"not":{"required":["a"]}}`, `{"a":1}`, `value wasn't supposed to match schema`},
	{`{"dependencies":{"a":["b"]}}`, `{"a":1}`, `property "b" is required when "a" is set`},
	{`{"properties":{"a":{}},"dependencies":{"a":{"not":{"required":["b"]}}}}`, `{"a":1,"b":1}`,
		`failed to validate dependent schema for "a": value wasn't supposed to match schema`},
	{`{"format":"ipv4"}`, `"1.2.3"`, `expect valid ipv4 format but got: 1.2.3`},
	{`{"format":"ipv6"}`, `"::1%lo"`, `expect valid ipv6 format but got: ::1%lo`},
	{`{"properties":{"a":false}}`, `{"a":1}`, `property "a" validation failed: expect false always`},
	{`{"type":"object","properties":{"n":{"type":"string","minLength":99}}}`, `{"n":"$secret://vault/1/a"}`, ``},
	{`{"type":"object","properties":{"n":{"enum":["a"]}}}`, `{"n":"$ENV://x"}`, ``},
	{`{"type":"integer"}`, `"$env://x"`, `wrong type: expected integer, got string`},
	{`{"type":["string","null"],"maxLength":1}`, `"$env://x"`, `string too long, expected at most 1, got 8`},
	{`{"contains":{"type":"string"}}`, `[1]`, `failed to check contains`},
	{`{"definitions":{"s":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/s"},"b":{"$ref":"#"}}}`, `{"b":{"a":1}}`,
		`property "b" validation failed: property "a" validation failed: wrong type: expected string, got number`},
	{`{"properties":{"policy":{"default":"local"}},"if":{"properties":{"policy":{"enum":["redis"]}}},"then":{"required":["host"]}}`, `{}`, ``},
}

func TestErrorTexts(t *testing.T) {
	for _, c := range texts1 {
		doc, err := Decode([]byte(c.doc))
		if err != nil {
			t.Fatalf("%s: %v", c.doc, err)
		}
		before, _ := Encode(doc)
		got := ""
		if err := compile(t, c.schema).Validate(doc); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s on %s:\n got %q\nwant %q", c.schema, c.doc, got, c.want)
		}
		if after, _ := Encode(doc); string(after) != string(before) {
			t.Errorf("%s: Validate changed %s to %s", c.schema, before, after)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct{ schema, doc, want string }{
		{`{"properties":{"a":{"default":1},"b":{"properties":{"c":{"default":"x"}}}}}`, `{}`, `{"a":1}`},
		{`{"properties":{"a":{"default":1},"b":{"properties":{"c":{"default":"x"}}}}}`, `{"b":{}}`, `{"a":1,"b":{"c":"x"}}`},
		{`{"type":"object","properties":{"b":{"type":"object","properties":{"c":{"default":[1]}}}}}`, `{"b":[]}`, `{"b":{"c":[1]}}`},
		{`{"properties":{"b":{"type":"array"}}}`, `{"b":{}}`, `{"b":[]}`},
		{`{"anyOf":[{"required":["x"],"properties":{"a":{"default":1}}},{"properties":{"a":{"default":2}}}]}`, `{}`, `{"a":2}`},
		{`{"oneOf":[{"properties":{"a":{"default":1}},"required":["x"]},{"properties":{"b":{"default":2}}}]}`, `{}`, `{"b":2}`},
		{`{"properties":{"p":{"default":"l"}},"if":{"properties":{"p":{"enum":["l"]}}},"then":{"properties":{"a":{"default":1}}},"else":{"properties":{"b":{"default":1}}}}`,
			`{}`, `{"a":1,"p":"l"}`},
		{`{"dependencies":{"a":{"properties":{"b":{"default":1}}}}}`, `{"a":0}`, `{"a":0,"b":1}`},
		{`{"items":{"properties":{"a":{"default":true}}}}`, `[{},{"a":false}]`, `[{"a":true},{"a":false}]`},
		{`{"properties":{"a":{"default":1}}}`, `{"a":null}`, `{"a":null}`},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"a":8e1}`, `{"a":80}`},
		{`{"items":{"type":"integer"}}`, `[1.0]`, `[1]`},
		{`{"properties":{"a":{"default":null}}}`, `{}`, `{}`},
		{`{"properties":{"n":{}}}`, `{"n":12345678901234567890.10}`, `{"n":12345678901234567890.10}`},
	} {
		got, err := compile(t, c.schema).Check([]byte(c.doc))
		if err != nil || string(got) != c.want {
			t.Errorf("%s on %s:\n got %s, %v\nwant %s", c.schema, c.doc, got, err, c.want)
		}
	}
}

// A default that is a table must not be shared between documents.
func TestDefaultsAreOwn(t *testing.T) {
	s := compile(t, `{"properties":{"a":{"default":{"b":[1]}}}}`)
	one := s.Fill(map[string]any{}).(map[string]any)
	one["a"].(map[string]any)["b"].([]any)[0] = "changed"
	two, err := Encode(s.Fill(map[string]any{}))
	if err != nil || string(two) != `{"a":{"b":[1]}}` {
		t.Fatalf("second document got %s, %v", two, err)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a":1,"a":2}`: "duplicate",
		`{} {}`:         "more data",
		`{"a":}`:        "missing value",
		``:              "unexpected EOF",
		"\"\xff\"":      "UTF-8",
		`[1,]`:          "invalid",
		`{"a":1`:        "unexpected EOF",
	} {
		if _, err := Decode([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%q) = %v, want an error with %q", doc, err, want)
		}
	}
}

func TestCompileRefusesBadSchemas(t *testing.T) {
	for _, text := range []string{`[]`, `{"type":"strin"}`, `{"properties":{"a":3}}`, `{"pattern":"("}`, `{"$ref":"#/none"}`, `{`,
		`{"$ref":"#"}`, `{"allOf":[{"$ref":"#"}]}`, `{"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}`,
		`{"if":{},"then":{"not":{"$ref":"#"}}}`, `{"dependencies":{"a":{"$ref":"#"}}}`} {
		if _, err := Compile("bad", text); err == nil || !strings.Contains(err.Error(), "schema bad: ") {
			t.Errorf("Compile(%s) = %v, want an error that names the schema", text, err)
		}
	}
}

func TestTextAndEncryptFields(t *testing.T) {
	s := compile(t, ` {"type":"object","encrypt_fields":["a","b.c"]} `)
	if got := strings.Join(s.EncryptFields(), " "); got != "a b.c" {
		t.Errorf("EncryptFields = %q", got)
	}
	if string(s.Text()) != `{"type":"object","encrypt_fields":["a","b.c"]}` || s.Name() != "test" {
		t.Errorf("Text = %s", s.Text())
	}
}

func TestLuaTexts(t *testing.T) {
	for f, want := range map[float64]string{1: "1", 0.1: "0.1", 1e15: "1e+15", 123456: "123456", -2.5: "-2.5"} {
		if got := luaNumber(f); got != want {
			t.Errorf("luaNumber(%v) = %q, want %q", f, got, want)
		}
	}
	if got := luaQuote("a\"\\\n\x01" + "2\x7f"); got != "\"a\\\"\\\\\\\n\\0012\\127\"" {
		t.Errorf("luaQuote = %q", got)
	}
}

func FuzzCheck(f *testing.F) {
	for _, c := range texts1 {
		f.Add(c.schema, c.doc)
	}
	f.Fuzz(func(t *testing.T, text, doc string) {
		s, err := Compile("fuzz", text)
		if err != nil {
			return
		}
		out, err := s.Check([]byte(doc))
		if err == nil && !json.Valid(out) {
			t.Fatalf("Check made %q", out)
		}
	})
}
