package schema

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// apply is Apply by the walk alone, or with the library first.
func apply(s *Schema, raw []byte, library bool) (string, string, judgement) {
	doc, err := Decode(raw)
	if err != nil {
		return "", err.Error(), refused
	}
	w, said := walker{}, s.judge(doc)
	w.filling = library && said == settled
	if c, ok := s.root.coerce(doc); ok {
		doc = c
	}
	if err := w.walk(s.root, doc); err != nil {
		return "", err.Error(), said
	}
	out, err := Encode(doc)
	if err != nil {
		return "", err.Error(), said
	}
	return string(out), "", said
}

// agree fails when the library changes the verdict, its text or the defaults.
func agree(t *testing.T, s *Schema, raw []byte) (accepts bool, said judgement) {
	t.Helper()
	out, text, _ := apply(s, raw, false)
	gotOut, gotText, said := apply(s, raw, true)
	if out != gotOut || text != gotText {
		t.Errorf("schema %s on %s:\n got %s %s\nwant %s %s", s.Name(), raw, gotOut, gotText, out, text)
	}
	return text == "", said
}

// maker makes documents that nearly match a schema.
type maker struct {
	*rand.Rand
	root any
}

var scalars = []any{"a", "", "$secret://vault/1/a", "$env://A", "127.0.0.1", "::1", "http://a.b/c", "x.com:80",
	json.Number("0"), json.Number("1"), json.Number("-1"), json.Number("1.5"), json.Number("2.0"), json.Number("300"),
	true, false, nil, []any{}, map[string]any{}, []any{"a"}, map[string]any{"a": json.Number("1")}}

func (m *maker) value(doc any, depth int) any {
	o, ok := doc.(*object)
	if !ok || depth > 7 || m.IntN(25) == 0 {
		return clone(scalars[m.IntN(len(scalars))])
	}
	if ref, ok := o.m["$ref"].(string); ok {
		b := builder{root: m.root}
		target, _ := b.resolve(ref)
		return m.value(target, depth+1)
	}
	if v, ok := o.m["default"]; ok && m.IntN(3) == 0 {
		return clone(plain(v))
	}
	if list, ok := o.m["enum"].([]any); ok && len(list) > 0 {
		return clone(plain(list[m.IntN(len(list))]))
	}
	if v, ok := o.m["const"]; ok {
		return clone(plain(v))
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		if list, ok := o.m[k].([]any); ok && o.m["properties"] == nil {
			return m.value(list[m.IntN(len(list))], depth+1)
		}
	}
	kinds := texts(o.m["type"])
	if s, ok := o.m["type"].(string); ok {
		kinds = []string{s}
	}
	if len(kinds) == 0 {
		kinds = []string{"object"}
	}
	switch kinds[m.IntN(len(kinds))] {
	case "object":
		return m.object(o, depth)
	case "array":
		return m.array(o, depth)
	case "string":
		return m.text(o)
	case "integer", "number":
		return m.number(o)
	}
	return m.IntN(2) == 0
}

func (m *maker) object(o *object, depth int) any {
	out := map[string]any{}
	names := func(from *object, odds int) {
		if props, ok := from.get("properties").(*object); ok {
			for _, name := range props.keys {
				if m.IntN(10) < odds {
					out[name] = m.value(props.m[name], depth+1)
				}
			}
		}
	}
	names(o, 2+m.IntN(5))
	for _, k := range []string{"then", "else"} {
		sub, _ := o.m[k].(*object)
		names(sub, 3)
	}
	for _, k := range []string{"anyOf", "oneOf", "allOf"} {
		list, _ := o.m[k].([]any)
		for _, e := range list {
			sub, _ := e.(*object)
			names(sub, 2)
		}
	}
	props, _ := o.m["properties"].(*object)
	for _, name := range append(texts(o.m["required"]), m.choice(o)...) {
		if _, ok := out[name]; !ok && m.IntN(20) > 0 {
			out[name] = m.value(props.get(name), depth+1)
		}
	}
	if o.m["patternProperties"] != nil || m.IntN(30) == 0 {
		pats, _ := o.m["patternProperties"].(*object)
		var sub any
		if pats != nil {
			sub = pats.m[pats.keys[m.IntN(len(pats.keys))]]
		}
		out["x"+strconv.Itoa(m.IntN(3))] = m.value(sub, depth+1)
	}
	return out
}

// choice are the names that one of the object's alternatives requires.
func (m *maker) choice(o *object) []string {
	for _, k := range []string{"anyOf", "oneOf"} {
		if list, ok := o.m[k].([]any); ok {
			sub, _ := list[m.IntN(len(list))].(*object)
			return texts(sub.get("required"))
		}
	}
	return nil
}

func (m *maker) array(o *object, depth int) any {
	out := []any{}
	for range 1 + m.IntN(3) {
		out = append(out, m.value(o.m["items"], depth+1))
	}
	return out
}

func (m *maker) text(o *object) any {
	pattern, _ := o.m["pattern"].(string)
	re, err := regexp.Compile(pattern)
	for _, s := range []string{"a", "/a", "127.0.0.1", "http://a.b/c", "a.example.com", "POST", "$a", "12345678901234567890", "udp://127.0.0.1:80"} {
		if m.IntN(3) == 0 && (err != nil || re.MatchString(s)) && len(s) >= max(0, count(o, "minLength")) {
			return s
		}
	}
	return clone(scalars[m.IntN(8)])
}

func (m *maker) number(o *object) any {
	low, high := 0, 10
	if f, ok := number(o.m["minimum"]); ok {
		low, high = int(f), int(f)+10
	}
	if f, ok := number(o.m["maximum"]); ok && m.IntN(2) == 0 {
		high = int(f)
	}
	n := strconv.Itoa(low - m.IntN(10)/9 + m.IntN(max(1, high-low+2)))
	if m.IntN(20) == 0 {
		n += ".5"
	}
	return json.Number(n)
}

// The verdicts, the texts and the defaults of every schema of the product are
// the same with the library first as by the walk alone.
func TestLibraryAgreesWithWalk(t *testing.T) {
	var files []string
	for _, glob := range []string{"../resource/*.json", "../../plugins/*/*.json"} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	const rounds = 150
	passed, settledOnes := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Compile(file, string(text))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := decodeOrdered(text)
		if err != nil {
			t.Fatal(err)
		}
		m := &maker{Rand: rand.New(rand.NewPCG(1, 2)), root: doc}
		for range rounds {
			raw, err := Encode(m.value(doc, 0))
			if err != nil {
				t.Fatal(err)
			}
			accepts, said := agree(t, s, raw)
			if accepts {
				passed++
			}
			if said == settled {
				settledOnes++
			}
		}
	}
	if all := len(files) * rounds; passed < all/20 || settledOnes < all/50 {
		t.Errorf("of %d documents %d passed and %d were settled by the library: too few to prove anything", all, passed, settledOnes)
	}
	t.Logf("%d schemas, %d documents passed, %d settled by the library", len(files), passed, settledOnes)
}

// Where leniency and defaults could turn the library's verdict around.
func TestLibraryAgreesOnCorners(t *testing.T) {
	for _, c := range []struct{ schema, doc string }{
		{`{"properties":{"a":{"default":1}},"maxProperties":1}`, `{"b":1}`},
		{`{"properties":{"a":{"default":1}},"not":{"required":["a"]}}`, `{"b":1}`},
		{`{"properties":{"a":{"default":1}},"required":["a"]}`, `{}`},
		{`{"properties":{"a":{"default":1}},"patternProperties":{"^a":{"type":"string"}}}`, `{"b":1}`},
		{`{"properties":{"a":{"default":1}},"enum":[{"b":1}]}`, `{"b":1}`},
		{`{"properties":{"a":{"default":1}},"propertyNames":{"enum":["b"]}}`, `{"b":1}`},
		{`{"properties":{"x":{},"a":{"default":1}},"dependencies":{"x":{"not":{"required":["a"]}}}}`, `{"x":1}`},
		{`{"properties":{"x":{},"a":{"default":1}},"dependencies":{"x":["a"]}}`, `{"x":1}`},
		{`{"items":{"properties":{"a":{"default":1}}},"uniqueItems":true}`, `[{"b":1},{"b":1,"a":1}]`},
		{`{"oneOf":[{"properties":{"a":{"default":1}}},{"required":["a"]}]}`, `{"b":1}`},
		{`{"anyOf":[{"properties":{"a":{"default":1}}}],"not":{"required":["a"]}}`, `{"b":1}`},
		{`{"oneOf":[{"type":"string","minLength":30},{"type":"string"}]}`, `"$env://a"`},
		{`{"not":{"type":"array"}}`, `{}`},
		{`{"minItems":1}`, `{}`},
		{`{"minItems":1}`, `{"a":1}`},
		{`{"required":["a"]}`, `[]`},
		{`{"required":[]}`, `{"a":1}`},
		{`{"patternProperties":{"^(?!a)b":{"type":"string"}},"additionalProperties":false}`, `{"b":1}`},
		{`{"patternProperties":{"^(?!a)b":{"type":"string"}},"additionalProperties":false}`, `{"b":"1"}`},
		{`{"allOf":[{"type":"string"}],"pattern":"^(?!a)b"}`, `"ab"`},
		{`{"not":{"pattern":"^(?!a)b"}}`, `"b"`},
		{`{"minimum":1,"exclusiveMinimum":true}`, `1`},
		{`{"minimum":1,"exclusiveMinimum":true}`, `1.5`},
		{`{"type":"integer"}`, `1e999999999`},
		{`{"type":"integer"}`, `2.0`},
		{`{"exclusiveMinimum":0}`, `0.` + string(make0(400)) + `1`},
		{`{"const":0.1}`, `0.1000000000000000055511151231257827`},
		{`{"format":"hostname"}`, `"-"`},
		{`{"format":"regex"}`, `"("`},
		{`{"definitions":{"d":{"oneOf":[{"required":["a"]},{"required":["b"]}]}},"allOf":[{"$ref":"#/definitions/d"}]}`, `{"a":1,"b":1}`},
		{`{"anyOf":[{"type":"string","pattern":"^a"},{"type":"integer","minimum":1}]}`, `0`},
		{`{"anyOf":[{"type":"string","pattern":"^a"},{"type":"integer","minimum":1}]}`, `1.5`},
	} {
		agree(t, compile(t, c.schema), []byte(c.doc))
	}
}

func make0(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0'
	}
	return b
}

func FuzzAgree(f *testing.F) {
	for _, c := range texts1 {
		f.Add(c.schema, c.doc)
	}
	f.Fuzz(func(t *testing.T, text, doc string) {
		if s, err := Compile("fuzz", text); err == nil {
			agree(t, s, []byte(doc))
		}
	})
}
