package inspect

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func decode(t *testing.T, text string) any {
	t.Helper()
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestDecodeFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{x`:                        "Expected object key string but found invalid token at character 2",
		`{`:                         "Expected object key string but found T_END at character 2",
		`{"a"`:                      "Expected colon but found T_END at character 5",
		`{"a":1 "b"`:                "Expected comma or object end but found T_STRING at character 8",
		`{"a":1,}`:                  "Expected object key string but found T_OBJ_END at character 8",
		`[1,]`:                      "Expected value but found T_ARR_END at character 4",
		`[1 2]`:                     "Expected comma or array end but found T_NUMBER at character 4",
		``:                          "Expected value but found T_END at character 1",
		`nope`:                      "Expected value but found invalid token at character 1",
		`{} {}`:                     "Expected the end but found T_OBJ_BEGIN at character 4",
		`"a`:                        "Expected value but found unexpected end of string at character 3",
		`{"a":1,"a":2}`:             "~duplicate",
		strings.Repeat("[", 100000): "~Found too many nested data structures",
	} {
		_, err := Decode([]byte(text))
		part, contains := strings.CutPrefix(want, "~")
		if err == nil || err.Error() != want && !(contains && strings.Contains(err.Error(), part)) {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
	if got := decode(t, "{\"a\":\"x\n\t\\\"y\"}"); !reflect.DeepEqual(got, any(object{"a": "x\n\t\"y"})) {
		t.Errorf("control characters: %v", got)
	}
}

func TestMerge(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":{"b":1,"c":2}}`, `{"a":{"b":3}}`, `{"a":{"b":3,"c":2}}`},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"b":null}}`, `{"a":{"c":2}}`},
		{`{"a":1}`, `{"a":null,"b":null}`, `{}`},
		{`{"a":{"b":1}}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"a":[1]}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{}}`},
		{`{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`},
		{`{"a":1}`, `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":1}}}`},
	} {
		got := decode(t, c[0]).(object)
		Merge(got, decode(t, c[1]).(object))
		if want := decode(t, c[2]); !reflect.DeepEqual(any(got), want) {
			t.Errorf("%s + %s = %v, want %v", c[0], c[1], got, want)
		}
	}
}

func TestReplace(t *testing.T) {
	for _, c := range [][4]string{
		{`{"a":{"b":1}}`, "a/b", `2`, `{"a":{"b":2}}`},
		{`{}`, "a/b/c", `{"d":1}`, `{"a":{"b":{"c":{"d":1}}}}`},
		{`{"a":[]}`, "a/b", `null`, `{"a":{"b":null}}`},
		{`{"a":1}`, "", `{"b":1}`, `{"b":1}`},
	} {
		got, err := Replace(decode(t, c[0]).(object), c[1], decode(t, c[2]))
		if want := decode(t, c[3]); err != nil || !reflect.DeepEqual(any(got), want) {
			t.Errorf("%s at %s: %v %v, want %v", c[0], c[1], got, err, want)
		}
	}
	for _, c := range [][3]string{
		{`{"a":1}`, "a/b/c", "invalid sub-path: /a"}, {`{"a":{"b":[1]}}`, "a/b/0", "invalid sub-path: /a/b"},
		{`{}`, "", "invalid configuration: wrong type: expected object, got number"},
	} {
		if _, err := Replace(decode(t, c[0]).(object), c[1], json.Number("1")); err == nil || err.Error() != c[2] {
			t.Errorf("%s at %s: %v, want %s", c[0], c[1], err, c[2])
		}
	}
}

func TestTexts(t *testing.T) {
	for addr, want := range map[string]int{"a:80": 80, "1.2.3.4:65536": 65536, "[::1]:81": 81, "[::1]": -1, "::1": -1, "a": -1, "": -1, "a:x": -1, ":8": 8} {
		got, ok := Port(addr)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("Port(%q) = %d, want %d", addr, got, want)
		}
	}
	for text, want := range map[string]bool{"1.2.3.4": true, "1.2.3.4/32": true, "1.2.3.4/33": false, "::1/128": true, "::1/129": false,
		"1.2.3.666": false, "x": false, "1.2.3.4/": false, "": false} {
		if IsNetwork(text) != want {
			t.Errorf("IsNetwork(%q) = %v", text, !want)
		}
	}
	for text, want := range map[string]bool{"$secret://vault/1/a": true, "$ENV://A": true, "$env://A": true, "$SECRET://": false, "env": false} {
		if IsSecretRef(text) != want {
			t.Errorf("IsSecretRef(%q) = %v", text, !want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x\n",null]}`, "{\"a\":\"\n\"}", `{x`, `[`, `"\u00`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := Decode(raw); err != nil && err.Error() == "" {
			t.Error("a fault without a text")
		}
	})
}

func FuzzLua(f *testing.F) {
	f.Add("function(vars) return vars.arg_x end")
	f.Add("local a = ((( return {}")
	f.Fuzz(func(_ *testing.T, src string) {
		_ = CheckFilterFunc(src)
		_ = CheckScript(src)
	})
}
