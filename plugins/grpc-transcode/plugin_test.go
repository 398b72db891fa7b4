package grpctranscode

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice/configcenter/resource"
	"sluice/configcenter/resource/protofile"
	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

const declared = `syntax = "proto3"; package p; import "google/protobuf/wrappers.proto";
enum Kind { SMALL = 0; BIG = 1; }
message M {
  string s = 1; bytes b = 2; bool f = 3; double d = 4; float g = 5;
  int32 i32 = 6; int64 i64 = 7; uint32 u32 = 8; uint64 u64 = 9; sint64 s64 = 10; fixed64 f64 = 11;
  Kind k = 12; M m = 13; repeated M ms = 14; repeated int64 ns = 15; repeated Kind ks = 16;
  map<string, M> by_name = 17; map<int64, string> by_number = 18; map<bool, Kind> by_flag = 19;
  oneof one { string left = 20; int32 right = 21; }
  optional int32 maybe = 22;
}
service S { rpc Echo(M) returns (M); }`

const old = `syntax = "proto2"; package q; message M { optional string s = 1 [default = "x"]; repeated int32 n = 2; required int32 r = 3; }
service S { rpc Echo(M) returns (M); }`

func env(protos map[string]string) *plugins.Env {
	e := plugintest.Env()
	e.Object = func(ref resource.Ref) any {
		text, ok := protos[ref.ID]
		if !ok || ref.Kind != resource.Protos {
			return nil
		}
		return &resource.Proto{Content: text}
	}
	return e
}

func transcode(t testing.TB, conf string) plugins.Phases {
	t.Helper()
	return plugintest.Build(t, &Plugin, env(map[string]string{"1": declared, "2": old, "bad": "message {"}), conf)
}

const echo = `{"proto_id":"1","service":"p.S","method":"Echo"}`

// post is a request with a JSON body.
func post(body string) *plugins.Ctx {
	c := plugintest.Request("POST", "/x?s=query", "Content-Type: application/json")
	c.SetBody([]byte(body))
	return c
}

// answered passes body through the filters, in pieces of three bytes.
func answered(t *testing.T, p plugins.Phases, c *plugins.Ctx, body []byte, fields ...string) string {
	t.Helper()
	plugintest.Respond(c, 200, fields...)
	if err := p.HeaderFilter(c); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for len(body) > 3 {
		b, err := p.BodyFilter(c, body[:3], false)
		if err != nil {
			t.Fatal(err)
		}
		out, body = append(out, b...), body[3:]
	}
	b, err := p.BodyFilter(c, body, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(append(out, b...))
}

func TestEcho(t *testing.T) {
	const bare = `"no_default_values"`
	for _, x := range []struct{ name, options, body, want string }{
		{"scalars", bare, `{"s":"a\"\n\u0001","b":"\u00ff","f":true,"d":1.5,"g":0.5,"i32":-1,"i64":"12","u32":4294967295,"u64":"0xff","s64":-5,"f64":7}`,
			`{"s":"a\"\n\u0001","b":"` + "\u00ff" + `","f":true,"d":1.5,"g":0.5,"i32":-1,"i64":12,"u32":4294967295,"u64":255,"s64":-5,"f64":7}`},
		{"integers from texts", bare, `{"ns":[1,2.9,"3","#4","-5","#-6","-#7","#0x10","0xabF"]}`, `{"ns":[1,2,3,4,-5,-6,-7,16,2751]}`},
		{"wide as numbers", bare, `{"i64":9007199254740993,"u64":"18446744073709551615"}`, `{"i64":9.007199254741e+15,"u64":1.844674407371e+19}`},
		{"wide as strings", bare + `,"int64_as_string"`, `{"i64":-9007199254740993,"u64":"18446744073709551615","ns":[3,2147483648]}`,
			`{"i64":"#-9007199254740993","u64":"#18446744073709551615","ns":[3,"#2147483648"]}`},
		{"wide as hexadecimal", bare + `,"int64_as_hexstring"`, `{"i64":-9007199254740993,"s64":"-#0x8000000000000000"}`,
			`{"i64":"#-0x20000000000001","s64":"#-0x8000000000000000"}`},
		{"enums", bare, `{"k":"BIG","ks":["SMALL",1,"1",9]}`, `{"k":"BIG","ks":["SMALL","BIG","BIG",9]}`},
		{"enums as numbers", bare + `,"enum_as_value"`, `{"k":"BIG","ks":["SMALL",1]}`, `{"k":1,"ks":[0,1]}`},
		{"nested", bare, `{"m":{"m":{"s":"x"}},"ms":[{"s":"a"},{}],"by_name":{"b":{"s":"1"},"a":{}},"by_number":{"7":"x","-1":"y"},"by_flag":{"true":"BIG"}}`,
			`{"m":{"m":{"s":"x"}},"ms":[{"s":"a"},{}],"by_name":{"a":{},"b":{"s":"1"}},"by_number":{"-1":"y","7":"x"},"by_flag":{"true":"BIG"}}`},
		{"presence", bare, `{"maybe":0,"right":0,"s":"","m":{}}`, `{"m":{},"right":0,"maybe":0}`},
		{"null and unknown", bare, `{"s":null,"nothing":1}`, `{}`},
		{"texts for flags", bare, `{"f":"false","ms":[{"f":"yes"}]}`, `{"ms":[{"f":true}]}`},
		{"defaults", `"use_default_values"`, `{}`, `{"s":"","b":"","f":false,"d":0,"g":0,"i32":0,"i64":0,"u32":0,"u64":0,"s64":0,"f64":0,"k":"SMALL",` +
			`"ms":[],"ns":[],"ks":[],"by_name":{},"by_number":{},"by_flag":{}}`},
		{"defaults by metatable", `"use_default_metatable"`, `{"s":"x"}`, `{"s":"x","ms":[],"ns":[],"ks":[],"by_name":{},"by_number":{},"by_flag":{}}`},
		{"not JSON: a form", bare, `s=a+b&ns=1&ns=2&ks=1&f`, `{"s":"a b","f":true,"ns":[1,2],"ks":["BIG"]}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := transcode(t, `{"proto_id":1,"service":"p.S","method":"Echo","pb_option":[`+x.options+`]}`)
			c := post(x.body)
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			sent, _ := c.BufferedBody()
			if c.Req.Method != "POST" || c.UpstreamURI != "/p.S/Echo" || c.Req.Header.Has("grpc-timeout") ||
				sent[0] != 0 || int(binary.BigEndian.Uint32(sent[1:5])) != len(sent)-5 {
				t.Errorf("%s %s % x", c.Req.Method, c.UpstreamURI, sent)
			}
			if got := answered(t, p, c, sent); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
			if ct := c.Resp.Header.Get("Content-Type"); ct != "application/json" || c.Resp.ContentLength != -1 || !c.Resp.Header.Has("Trailer") {
				t.Errorf("%s %d", ct, c.Resp.ContentLength)
			}
		})
	}
}

func TestProto2(t *testing.T) {
	for options, want := range map[string]string{
		`"auto_default_values"`: `{}`, `"use_default_values"`: `{"s":"x","n":[],"r":0}`,
		`"use_default_values","no_default_values"`: `{"s":"x","n":[],"r":0}`,
	} {
		p := transcode(t, `{"proto_id":"2","service":"q.S","method":"Echo","pb_option":[`+options+`]}`)
		c := post(`{}`)
		if r, err := p.Access(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if got := answered(t, p, c, nil); got != want {
			t.Errorf("%s: %s", options, got)
		}
	}
}

func TestRefused(t *testing.T) {
	p := transcode(t, echo)
	for _, body := range []string{
		`{"s":1}`, `{"s":{}}`, `{"b":1}`, `{"i32":"x"}`, `{"i64":"#a"}`, `{"i64":"+1"}`, `{"i64":true}`, `{"i64":1e30}`, `{"i64":9223372036854775808.5}`, `{"d":"x"}`, `{"d":[]}`,
		`{"k":"HUGE"}`, `{"k":true}`, `{"m":1}`, `{"m":"x"}`, `{"ms":{}}`, `{"ms":[1]}`, `{"ns":1}`, `{"by_name":[]}`, `{"by_number":{"x":"y"}}`,
		`{"m":{"m":{"s":1}}}`, `{"i64":""}`,
	} {
		if r, err := p.Access(post(body)); err != nil || r == nil || r.Status != 400 {
			t.Errorf("%s: %v %v", body, r, err)
		}
	}
	for _, conf := range []string{`{"proto_id":"1","service":"p.S","method":"No"}`, `{"proto_id":"1","service":"p.T","method":"Echo"}`} {
		if r, err := transcode(t, conf).Access(post("{}")); err != nil || r == nil || r.Status != 503 {
			t.Errorf("%s: %v %v", conf, r, err)
		}
	}
	for _, conf := range []string{`{"proto_id":"3","service":"p.S","method":"Echo"}`, `{"proto_id":"bad","service":"p.S","method":"Echo"}`} {
		p, c := transcode(t, conf), post("{}")
		if r, err := p.Access(c); r != nil || err != nil || c.UpstreamURI != "" {
			t.Errorf("%s: %v %v", conf, r, err)
		}
		if got := answered(t, p, c, []byte("as it is")); got != "as it is" || c.Resp.Header.Has("Content-Type") {
			t.Errorf("%s: %q", conf, got)
		}
	}
	for _, conf := range []string{`{"proto_id":"1","service":"p.S"}`, `{"proto_id":"a b","service":"p.S","method":"E"}`,
		`{"proto_id":"1","service":"p.S","method":"E","pb_option":[]}`, `{"proto_id":"1","service":"p.S","method":"E","pb_option":["x"]}`} {
		if _, err := plugintest.Try(&Plugin, env(nil), conf); err == nil {
			t.Errorf("%s is taken", conf)
		}
	}
}

func TestSources(t *testing.T) {
	p := transcode(t, `{"proto_id":"1","service":"p.S","method":"Echo","deadline":500,"pb_option":["no_default_values"]}`)
	for _, x := range []struct{ method, ct, body, want string }{
		{"GET", "application/json", `{"s":"body"}`, `{"s":"query"}`},
		{"POST", "application/json; charset=utf-8", `{"s":"body"}`, `{"s":"body"}`},
		{"PATCH", "application/json", `{"s":"body"}`, `{"s":"body"}`},
		{"PUT", "application/json", `[1]`, `{"s":"query"}`},
		{"PUT", "text/plain", `s=form`, `{"s":"query"}`},
		{"POST", "text/plain", `%73=f%6frm&&b=%zz`, `{"s":"form","b":"%zz"}`},
		{"POST", "application/json", ``, `{}`},
	} {
		c := plugintest.Request(x.method, "/x?s=query", "Content-Type: "+x.ct)
		c.SetBody([]byte(x.body))
		if r, err := p.Access(c); r != nil || err != nil {
			t.Fatal(x, r, err)
		}
		if got := c.Req.Header.Get("grpc-timeout"); got != "500m" {
			t.Errorf("timeout %q", got)
		}
		sent, _ := c.BufferedBody()
		if got := answered(t, p, c, sent); got != x.want {
			t.Errorf("%v: %s", x, got)
		}
	}
	for ms, want := range map[float64]string{0: "", -1: "", 0.5: "500u", 1.0 / 4096: "1u", 1e9: "1000000S", 1e300: "99999999S"} {
		if got := timeout(ms); got != want {
			t.Errorf("%v ms: %s, want %s", ms, got, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	details := func(t *testing.T) string {
		why, err := anypb.New(wrapperspb.String("because"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(&statuspb.Status{Code: 14, Message: "gone", Details: []*anypb.Any{why}})
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawStdEncoding.EncodeToString(raw)
	}(t)
	const shown = `{"proto_id":"1","service":"p.S","method":"Echo","show_status_in_body":true`
	for _, x := range []struct {
		name, conf string
		fields     []string
		status     int
		want       string
	}{
		{"fine", echo, []string{"grpc-status: 0"}, 200, `{"s":""`},
		{"failed", echo, []string{"grpc-status: 5"}, 404, "raw"},
		{"cancelled", echo, []string{"grpc-status: 1"}, 499, "raw"},
		{"unknown", echo, []string{"grpc-status: 17"}, 599, "raw"},
		{"nonsense", echo, []string{"grpc-status: x"}, 599, "raw"},
		{"no details", shown + "}", []string{"grpc-status: 14"}, 503, "raw"},
		{"details", shown + "}", []string{"grpc-status: 14", "grpc-status-details-bin: " + details}, 503,
			`{"error":{"code":14,"message":"gone","details":[{"type_url":"type.googleapis.com/google.protobuf.StringValue","value":"\n\u0007because"}]}}`},
		{"decoded details", shown + `,"status_detail_type":"google.protobuf.StringValue"}`, []string{"grpc-status: 14", "grpc-status-details-bin: " + details}, 503,
			`{"error":{"code":14,"message":"gone","details":[{"value":"because"}]}}`},
		{"details of no type", shown + `,"status_detail_type":"p.None"}`, []string{"grpc-status: 14", "grpc-status-details-bin: " + details}, 503,
			"failed to call pb.decode to decode details in grpc-status-details-bin"},
		{"details that are none", shown + `}`, []string{"grpc-status: 14", "grpc-status-details-bin: /w"}, 503,
			"failed to call pb.decode to decode grpc-status-details-bin"},
		{"details that are no text", shown + `}`, []string{"grpc-status: 14", "grpc-status-details-bin: !"}, 503, "grpc-status-details-bin is not base64 format"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, c := transcode(t, x.conf), post("{}")
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			body := []byte("raw")
			if x.status == 200 {
				body = nil
			}
			got := answered(t, p, c, body, x.fields...)
			if c.Resp.Status != x.status || !strings.HasPrefix(got, x.want) {
				t.Errorf("%d %s", c.Resp.Status, got)
			}
		})
	}
}

func TestBadAnswers(t *testing.T) {
	const want = "failed to decode response data by protobuf"
	p := transcode(t, `{"proto_id":"1","service":"p.S","method":"Echo","max_resp_body_size":20}`)
	for _, body := range []string{"\x00\x00\x00\x00\x05\x0a", "\x01\x00\x00\x00\x00", "\x00\x00", "\x00\x00\x00\x00\x01\x0a",
		"\x00\x00\x00\x00\x1e\x0a\x1cxxxxxxxxxxxxxxxxxxxxxxxxxxxx"} {
		c := post("{}")
		if r, err := p.Access(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if got := answered(t, p, c, []byte(body)); got != want {
			t.Errorf("%q: %s", body, got)
		}
	}
	c := post("{}")
	c.Req.Header.Set("X-Grpc-Web", "1")
	if r, err := p.Access(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if got := answered(t, p, c, []byte("\x0a\x01x")); !strings.HasPrefix(got, `{"s":"x",`) {
		t.Errorf("without prefix: %s", got)
	}
	c = post("{}")
	if r, err := p.Access(c); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if got := answered(t, p, c, []byte("\x00\x00\x00\x00\x09\x21\x00\x00\x00\x00\x00\x00\xf0\x7f")); got != "failed to json_encode response body" {
		t.Errorf("infinity: %s", got)
	}
}

func TestSharedAndClosed(t *testing.T) {
	e := env(map[string]string{"1": declared})
	var all []plugins.Phases
	for range 3 {
		p, err := plugintest.Try(&Plugin, e, echo)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		p.Close()
	}
	if n := e.Shared.Len(); n != 0 {
		t.Errorf("%d protos are left", n)
	}
	if got := refs([]byte(`{"proto_id":7}`)); len(got) != 1 || got[0] != (resource.Ref{Kind: resource.Protos, ID: "7"}) {
		t.Errorf("refs %v", got)
	}
}

func FuzzFill(f *testing.F) {
	set, err := protofile.Compile(context.Background(), declared)
	if err != nil {
		f.Fatal(err)
	}
	d := set.Message("p.M")
	f.Add(`{"m":{"ms":[{"k":"BIG"}]},"i64":"#-0x1"}`)
	f.Fuzz(func(t *testing.T, body string) {
		var fields map[string]any
		if plugins.Decode([]byte(body), &fields) != nil {
			return
		}
		m := dynamicpb.NewMessage(d)
		if fill(m, data(fields)) != nil {
			return
		}
		p := printer{options: newOptions(nil)}
		_ = p.message(m)
	})
}

func data(fields map[string]any) source { return source{fields: fields} }

func BenchmarkCall(b *testing.B) {
	p := transcode(b, echo)
	c := post(`{"s":"world","m":{"s":"Joe","i32":1}}`)
	body, _ := c.BufferedBody()
	b.ReportAllocs()
	for b.Loop() {
		c.Req.Method = "POST"
		c.SetBody(body)
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
		sent, _ := c.BufferedBody()
		plugintest.Respond(c, 200)
		if err := p.HeaderFilter(c); err != nil {
			b.Fatal(err)
		}
		if _, err := p.BodyFilter(c, sent, true); err != nil {
			b.Fatal(err)
		}
	}
}
