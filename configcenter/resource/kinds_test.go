package resource

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// doc is the part of a JSON Schema that the walk needs.
type doc struct {
	Properties map[string]json.RawMessage `json:"properties"`
}

// fieldsOf lists the JSON names of a struct, with those of embedded structs.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			for k, v := range fieldsOf(f.Type) {
				out[k] = v
			}
		case name != "-":
			out[name] = f.Type
		}
	}
	return out
}

// notInSchema are Meta's members that APISIX's schema of the kind does not have.
var notInSchema = map[Kind][]string{
	Consumers:   {"name"},
	GlobalRules: {"name", "desc", "labels"},
	SSLs:        {"name"},
}

func TestSchemasAgreeWithTypes(t *testing.T) {
	for _, info := range Kinds {
		v := reflect.TypeOf(info.New()).Elem()
		if v == reflect.TypeFor[Raw]() || v.Kind() != reflect.Struct {
			continue
		}
		compare(t, string(info.Kind), info.Schema, v, notInSchema[info.Kind])
	}
}

func compare(t *testing.T, at, text string, v reflect.Type, extra []string) {
	var d doc
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if d.Properties == nil {
		return
	}
	fields := fieldsOf(v)
	for name, sub := range d.Properties {
		f, ok := fields[name]
		if !ok {
			t.Errorf("%s: property %q has no field", at, name)
			continue
		}
		for f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct {
			compare(t, at+"."+name, string(sub), f, nil)
		}
	}
	for name := range fields {
		// Health checks share their types between active and passive.
		shared := strings.Contains(at, "checks.")
		if _, ok := d.Properties[name]; !ok && !slices.Contains(extra, name) && !shared {
			t.Errorf("%s: field %q has no property", at, name)
		}
	}
}

func TestDecodeComparesNamesExactly(t *testing.T) {
	v, err := Decode(Routes, "1", []byte(`{"URI":"/a","Plugins":{"x":{}},"uri":"/b","id":"other"}`))
	if err != nil {
		t.Fatal(err)
	}
	r := v.(*Route)
	if r.URI != "/b" || r.Plugins != nil || r.ID != "1" {
		t.Errorf("got uri %q, plugins %v, id %q", r.URI, r.Plugins, r.ID)
	}
	if _, err := Decode(Routes, "1", []byte(`{"uri":"/a","uri":"/b"}`)); err == nil {
		t.Error("a name that comes twice was taken")
	}
	if _, err := Decode("cars", "1", []byte(`{}`)); err == nil {
		t.Error("an unknown kind was taken")
	}
	v, err = Decode(Upstreams, "1", []byte(`{"nodes":[{"Host":"x","host":"y","weight":1}]}`))
	if err != nil || v.(*Upstream).Nodes[0].Host != "y" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestDecodeRaw(t *testing.T) {
	raw := []byte(`{"name":5,"log_format":{}}`)
	v, err := Decode(PluginMetadata, "http-logger", raw)
	if err != nil {
		t.Fatal(err)
	}
	if r := v.(*Raw); string(r.JSON) != string(raw) || r.ID != "http-logger" {
		t.Errorf("got %+v", r)
	}
}

func TestNodes(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                `[]`,
		`[]`:                                `[]`,
		`{"b:80":1,"a:81":2,"a:9":0,"c":3}`: `[{a 9 0 0 []} {a 81 2 0 []} {b 80 1 0 []} {c 0 3 0 []}]`,
		`{"[::1]:80":1,"::2":2}`:            `[{::1 80 1 0 []} {::2 0 2 0 []}]`,
		`[{"host":"a","weight":1}]`:         `[{a 0 1 0 []}]`,
		`{"a:0":1}`:                         `node "a:0": invalid port 0`,
		`{"a:x":1}`:                         `node "a:x": invalid port x`,
	} {
		v, err := Decode(Upstreams, "1", []byte(`{"nodes":`+text+`}`))
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %s", text, err, want)
			}
			continue
		}
		if got := fmt.Sprint(v.(*Upstream).Nodes); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	v, err := Decode(Routes, "9", []byte(`{"upstream_id":17,"service_id":"s"}`))
	if err != nil || v.(*Route).UpstreamID != "17" || v.(*Route).ServiceID != "s" {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, err := Decode(Routes, "9", []byte(`{"upstream_id":true}`)); err == nil {
		t.Error("a boolean was taken for an id")
	}
}

func TestRefs(t *testing.T) {
	for _, c := range []struct {
		kind          Kind
		id, raw, want string
	}{
		{Routes, "1", `{"upstream_id":1,"service_id":"s","plugin_config_id":"p","upstream":{"tls":{"client_cert_id":"c"}}}`,
			"[{upstreams 1} {services s} {plugin_configs p} {ssls c}]"},
		{Services, "1", `{"upstream_id":1}`, "[{upstreams 1}]"},
		{Upstreams, "1", `{"tls":{"client_cert_id":"c"}}`, "[{ssls c}]"},
		{Consumers, "bob", `{"username":"bob","group_id":"g"}`, "[{consumer_groups g}]"},
		{Credentials, "bob/credentials/1", `{}`, "[{consumers bob}]"},
		{GraphQLCostDecorations, "s/graphql_cost_decorations/1", `{"field_path":"a"}`, "[{services s}]"},
		{StreamRoutes, "1", `{"upstream_id":1,"protocol":{"name":"redis","superior_id":"2"}}`, "[{upstreams 1} {stream_routes 2}]"},
		{SSLs, "1", `{}`, "[]"},
	} {
		v, err := Decode(c.kind, c.id, []byte(c.raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(Of(c.kind).Refs(v)); got != c.want {
			t.Errorf("%s: refs %s, want %s", c.kind, got, c.want)
		}
	}
}
