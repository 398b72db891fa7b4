package plugins

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/gateway/jsonpath"
	"sluice/gateway/wire"
)

// request makes a Ctx as the gateway does.
func request(method, target, body string, fields ...string) *Ctx {
	r := &wire.Request{Method: method, Target: target, Host: "Api.Example.com:9080", Major: 1, Minor: 1,
		Body: strings.NewReader(body), ContentLength: int64(len(body)), Size: 120,
		Remote: netip.MustParseAddrPort("10.1.2.3:5000"), Local: netip.MustParseAddrPort("127.0.0.1:9080")}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	c := &Ctx{}
	c.Reset(context.Background(), r, nil, nil)
	c.Path, c.Query, _ = strings.Cut(target, "?")
	c.Addr, c.Port = netip.MustParseAddr("192.168.1.7"), 4711
	c.Start = time.Now()
	return c
}

// check compares variables, given as name and value; "<none>" is absence. It
// asks in each way that there is.
func check(t *testing.T, c *Ctx, want ...string) {
	t.Helper()
	for i := 0; i < len(want); i += 2 {
		name, v := want[i], want[i+1]
		got := map[string]string{}
		text := func(s string, ok bool) string {
			if !ok {
				return "<none>"
			}
			return s
		}
		got["Variable"] = text(Variable(name)(c))
		got["LookupVar"] = text(c.LookupVar(name))
		b, ok := VariableAppender(name)(c, []byte("x"))
		got["VariableAppender"] = text(strings.TrimPrefix(string(b), "x"), ok)
		for how, s := range got {
			if s != v {
				t.Errorf("%s(%q) = %q, want %q", how, name, s, v)
			}
		}
	}
}

func TestRequestVariables(t *testing.T) {
	c := request("GET", "/a/b?x=1&y=%20z", "", "User-Agent", "curl", "X-Foo", "1", "x_foo", "2",
		"Authorization", "Basic am9objpzZWNyZXQ=")
	check(t, c, "uri", "/a/b", "request_uri", "/a/b?x=1&y=%20z", "args", "x=1&y=%20z", "is_args", "?",
		"request_method", "GET", "method", "GET", "scheme", "http", "host", "api.example.com",
		"http_host", "Api.Example.com:9080", "http_user_agent", "curl", "http_User-Agent", "curl",
		"http_x_foo", "1, 2", "http_none", "<none>", "remote_addr", "192.168.1.7", "remote_port", "4711",
		"realip_remote_addr", "10.1.2.3", "server_addr", "127.0.0.1", "server_port", "9080",
		"server_protocol", "HTTP/1.1", "request", "GET /a/b?x=1&y=%20z HTTP/1.1", "remote_user", "john",
		"request_length", "120", "binary_remote_addr", "\xc0\xa8\x01\x07", "nothing_of_the_kind", "<none>",
		"route_id", "<none>", "consumer_name", "<none>", "", "<none>", "https", "", "server_name", "_",
		"proxy_add_x_forwarded_for", "192.168.1.7", "content_length", "<none>", "request_type", "traditional_http")
	c.Path = "/canonical"
	check(t, c, "request_uri", "/canonical?x=1&y=%20z", "real_request_uri", "/a/b?x=1&y=%20z")
}

func TestHostVariable(t *testing.T) {
	for in, want := range map[string]string{"": "_", "A.b": "a.b", "a.b.": "a.b", "[::1]:80": "[::1]", "[::1]": "[::1]", "x:1": "x"} {
		c := request("GET", "/", "")
		c.Req.Host = in
		check(t, c, "host", want)
	}
}

func TestArguments(t *testing.T) {
	c := request("GET", "/?a=1&a=2&flag&empty=&a-b=ab&%61%20b=c+d%21&bad=%zz%2&=x&sp+ace=1", "")
	check(t, c, "arg_a", "1", "arg_flag", "true", "arg_empty", "", "arg_a-b", "ab", "arg_a b", "c d!",
		"arg_bad", "%zz%2", "arg_none", "<none>", "arg_", "<none>", "arg_sp ace", "1", "arg_A", "<none>")
}

func TestCookies(t *testing.T) {
	c := request("GET", "/", "", "Cookie", "a=a; b=bb; X-user-id=2; user[id]=3; user.id=4; flag; e=", "Cookie", "b=last rest; c=\"q\"")
	check(t, c, "cookie_a", "a", "cookie_b", "last", "cookie_X-user-id", "2", "cookie_user[id]", "3", "cookie_user.id", "4",
		"cookie_flag", "<none>", "cookie_e", "", "cookie_c", `"q"`, "cookie_d", "<none>",
		"http_cookie", `a=a; b=bb; X-user-id=2; user[id]=3; user.id=4; flag; e=; b=last rest; c="q"`)
	check(t, request("GET", "/", ""), "cookie_a", "<none>", "http_cookie", "<none>")
}

func TestSetVarWins(t *testing.T) {
	c := request("GET", "/?a=1", "")
	for _, name := range []string{"arg_a", "uri", "http_x", "made_up", "request"} {
		c.SetVar(name, "set")
		check(t, c, name, "set")
	}
	c.Reset(context.Background(), c.Req, nil, nil)
	check(t, c, "made_up", "<none>")
}

func TestFormArguments(t *testing.T) {
	const form = "application/x-www-form-urlencoded;charset=utf-8"
	c := request("POST", "/", "test=a+b&test=c&flag&n=1", "Content-Type", form)
	check(t, c, "post_arg_test", "a b", "post_arg_none", "<none>", "post_arg.test", `["a b","c"]`, "post_arg.flag", "true", "post_arg.n", "1")
	check(t, request("POST", "/", "test=1", "Content-Type", "text/plain"), "post_arg_test", "<none>", "post_arg.test", "<none>")
}

func TestJSONBody(t *testing.T) {
	body := `{"model":"gpt-4","n":1,"f":0.10,"big":1e20,"no":false,"nil":null,"o":{"a":{"b":"deep"},"l":[1,2]},
		"messages":[{"content":[{"type":"text"},{"type":"image_url"}]},{"content":"s"}]}`
	c := request("POST", "/", body, "Content-Type", "application/json; charset=utf-8")
	check(t, c, "post_arg.model", "gpt-4", "post_arg.n", "1", "post_arg.f", "0.1", "post_arg.big", "1e+20", "post_arg.no", "false",
		"post_arg.nil", "<none>", "post_arg.o.a.b", "deep", "post_arg.o.l", "[1,2]", "post_arg.o.l.0", "<none>", "post_arg.model.x", "<none>",
		"post_arg.", "<none>", "post_arg.messages[*].content[*].type", `["text","image_url"]`, "post_arg.o..b", `["deep"]`,
		"post_arg.o.l[-1]", "[2]", "post_arg.messages[.x[*]", "<none>", "post_arg.none[*]", "<none>")
	if err := CheckVariable("post_arg.messages[.content[*].type"); err == nil {
		t.Error("a bad JSONPath was accepted")
	}
	c.SetBody([]byte(`{"model":"claude"}`))
	check(t, c, "post_arg.model", "claude", "post_arg.n", "<none>")
}

func TestMultipartBody(t *testing.T) {
	body := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4\r\n--b--\r\n"
	check(t, request("POST", "/", body, "Content-Type", "multipart/form-data; boundary=b"), "post_arg.model", "gpt-4", "post_arg.x", "<none>")
	check(t, request("POST", "/", body, "Content-Type", "multipart/form-data"), "post_arg.model", "<none>")
}

func TestBodyAboveLimitStaysWhole(t *testing.T) {
	body := `{"model":"gpt-4","pad":"` + strings.Repeat("a", 100) + `"}`
	for _, length := range []int64{int64(len(body)), -1} {
		c := request("POST", "/", body, "Content-Type", "application/json")
		c.Req.ContentLength = length
		c.SetLimits(&Limits{PostArgs: 50})
		check(t, c, "post_arg.model", "<none>")
		if b, err := c.Body(0); err != nil || string(b) != body {
			t.Errorf("length %d: body afterwards = %q, %v", length, b, err)
		}
	}
}

func TestGraphQL(t *testing.T) {
	const op, name, fields = "graphql_operation", "graphql_name", "graphql_root_fields"
	query := "query repo { owner { name } repo { id } }"
	check(t, request("POST", "/", query), op, "query", name, "repo", fields, "owner,repo", "graphql_x", "<none>")
	check(t, request("POST", "/", `{"query":"query{owner{name}}"}`, "Content-Type", "application/json"), op, "query", name, "", fields, "owner")
	check(t, request("GET", "/?query=mutation%20m{a{b}}&query=query{c}", ""), op, "mutation", name, "m", fields, "a")
	check(t, request("POST", "/", "mutation m { a } query q { b }"), op, "mutation", name, "m", fields, "a")
	check(t, request("POST", "/", "query { ...f ... on Query { x } } fragment f on Query { hidden ...f }"), fields, "hidden,x")
	for _, bad := range []*Ctx{request("POST", "/", "AA"), request("POST", "/", ""), request("GET", "/", ""), request("PUT", "/", query),
		request("POST", "/", "{}", "Content-Type", "application/json"), request("POST", "/", strings.Repeat("{a", 5000))} {
		check(t, bad, op, "<none>", name, "<none>", fields, "<none>")
	}
	c := request("POST", "/", query)
	c.SetLimits(&Limits{GraphQL: 5})
	check(t, c, op, "<none>")
	c.SetBody([]byte("{a}"))
	check(t, c, op, "query")
}

func TestUpstreamVariables(t *testing.T) {
	c := request("GET", "/", "")
	check(t, c, "upstream_addr", "<none>", "upstream_status", "<none>", "balancer_ip", "<none>", "upstream_http_x", "<none>",
		"upstream_uri", "", "upstream_scheme", "http", "status", "000")
	c.Tries = append(c.Tries, Try{Addr: "10.0.0.1:80", Host: "a.com"},
		Try{Addr: "[::1]:8080", Host: "b.com", Status: 200, Connect: 1, Header: 1200 * time.Millisecond, Total: 2 * time.Second})
	c.Resp = &wire.Response{Status: 200, ContentLength: 12}
	c.Resp.Header.Add("X-A", "1")
	c.Resp.Header.Add("Set-Cookie", "sid=q; Path=/")
	c.BytesSent, c.BodySent = 300, 12
	check(t, c, "upstream_addr", "10.0.0.1:80, [::1]:8080", "upstream_status", "-, 200", "upstream_header_time", "-, 1.200",
		"upstream_connect_time", "-, 0.000", "upstream_response_time", "-, 2.000", "balancer_ip", "::1", "balancer_port", "8080",
		"upstream_unresolved_host", "b.com", "upstream_http_x_a", "1", "sent_http_x_a", "1", "sent_http_content_length", "12",
		"upstream_cookie_sid", "q", "status", "200", "bytes_sent", "300", "body_bytes_sent", "12")
}

type stub resource.Upstream

func (u *stub) Def() *resource.Upstream { return (*resource.Upstream)(u) }

func TestUpstreamHost(t *testing.T) {
	c := request("GET", "/", "")
	check(t, c, "upstream_host", "Api.Example.com:9080")
	c.SetUpstream(&stub{PassHost: "pass"})
	check(t, c, "upstream_host", "Api.Example.com:9080")
	c.SetUpstream(&stub{PassHost: "rewrite", UpstreamHost: "r.com"})
	check(t, c, "upstream_host", "r.com")
	c.SetUpstream(&stub{PassHost: "node"})
	check(t, c, "upstream_host", "Api.Example.com:9080")
	c.Tries = append(c.Tries, Try{Addr: "1.2.3.4:80", Host: "n.com"})
	check(t, c, "upstream_host", "n.com")
	c.UpstreamScheme = "https"
	check(t, c, "upstream_host", "n.com:80")
	c.UpstreamHost = "set.com"
	check(t, c, "upstream_host", "set.com")
}

func TestResourceVariables(t *testing.T) {
	c := request("GET", "/", "")
	c.Route = &resource.Route{Meta: resource.Meta{ID: "1", Name: "r"}}
	c.Service = &resource.Service{Meta: resource.Meta{ID: "2"}}
	c.Consumer = &Consumer{Def: &resource.Consumer{Username: "jack", GroupID: "g"}}
	c.Params = []Param{{"id", "7"}}
	check(t, c, "route_id", "1", "route_name", "r", "service_id", "2", "service_name", "<none>", "consumer_name", "jack",
		"consumer_group_id", "g", "uri_param_id", "7", "uri_param_x", "<none>")
}

func TestRequestID(t *testing.T) {
	c := request("GET", "/", "")
	id, _ := c.LookupVar("apisix_request_id")
	if len(id) != 32 || c.ID() != id || c.Var("request_id") != id {
		t.Errorf("ids %q, %q, %q", id, c.ID(), c.Var("request_id"))
	}
	c.Reset(context.Background(), c.Req, nil, nil)
	if c.ID() == id {
		t.Error("the id outlived its request")
	}
}

func TestAddressTextFollowsAddress(t *testing.T) {
	c := request("GET", "/", "")
	check(t, c, "remote_addr", "192.168.1.7")
	c.Addr = netip.MustParseAddr("::ffff:1.2.3.4")
	check(t, c, "remote_addr", "1.2.3.4")
	c.Addr = netip.MustParseAddr("2001:db8::1")
	check(t, c, "remote_addr", "2001:db8::1")
}

func TestJSONPath(t *testing.T) {
	body := `{"store":{"book":[{"t":"A","p":8,"s":true},{"t":"B","p":12.5},{"t":"C","p":9}],"a b":1}}`
	c := request("POST", "/", body, "Content-Type", "application/json")
	for path, want := range map[string]string{
		"store.book[0,2].t": `["A","C"]`, "store.book[1:].t": `["B","C"]`, "store.book[::2].t": `["A","C"]`,
		"store.book[:-1].t": `["A","B"]`, "store.book[?(@.p > 8.5)].t": `["B","C"]`, "store.book[?(@.t == 'A')].p": "[8]",
		"store.book[?(@.s)].t": `["A"]`, "store['a b']": "[1]", "store..t": `["A","B","C"]`, "..p": "[8,12.5,9]",
		"store.book[?(@.t != 'A')].t": `["B","C"]`, "store.book[7].t": "<none>", "*..t": `["A","B","C"]`,
	} {
		check(t, c, "post_arg."+path, want)
	}
	for _, bad := range []string{"a[", "a[]", "a[x]", "a[1:2:0]", "a[?(x)]", "a[?(@.x == )]", "a[*].", "a['x'", "a[0]b["} {
		if CheckVariable("post_arg."+bad) == nil {
			t.Errorf("JSONPath %q was accepted", bad)
		}
	}
}

func TestJSONPathWorkIsBounded(t *testing.T) {
	body := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	c := request("POST", "/", body, "Content-Type", "application/json")
	check(t, c, "post_arg...*..*..*..none", "<none>")
}

func FuzzJSONPath(f *testing.F) {
	for _, s := range []string{"a[*].b", "..x", "a[?(@.b == 'c')]", "a[1:2]", "a['x',\"y\"]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		steps, err := jsonpath.Parse("$." + s)
		if err == nil {
			steps.Query(map[string]any{"a": []any{map[string]any{"b": "c"}, "x"}, "x": nil})
		}
	})
}

func FuzzFormValue(f *testing.F) {
	f.Add("a=1&%61=2", "a")
	f.Fuzz(func(t *testing.T, q, name string) {
		v, ok := formValue(q, name)
		all, has := formTable(q)[name]
		if ok != has {
			t.Fatalf("formValue(%q, %q) found %v, table %v", q, name, ok, has)
		}
		if l, isList := all.([]any); isList {
			all = l[0]
		}
		if s, isText := all.(string); isText && s != v {
			t.Fatalf("formValue(%q, %q) = %q, table %q", q, name, v, s)
		}
	})
}

func TestVariablesAllocateNothing(t *testing.T) {
	c := request("GET", "/a/b?x=1&y=2", "", "User-Agent", "curl", "Cookie", "a=1; b=2")
	for _, name := range []string{"remote_addr", "uri", "request_uri", "host", "args", "arg_y", "http_user_agent", "request_method",
		"cookie_b", "server_port", "scheme", "http_host", "route_id", "remote_port", "nothing"} {
		get := Variable(name)
		get(c)
		want := 0.0
		if name == "host" {
			want = 1 // the client wrote capital letters
		}
		if n := testing.AllocsPerRun(100, func() { get(c) }); n != want {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	app := VariableAppender("request")
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { app(c, buf) }); n != 0 {
		t.Errorf("appending request: %v allocations", n)
	}
}

func BenchmarkVariable(b *testing.B) {
	c := request("GET", "/a/b?x=1&y=2", "", "Accept", "*/*", "User-Agent", "curl", "Accept-Encoding", "gzip", "X-Foo", "1", "Cookie", "a=1; b=2")
	c.Req.Host = "api.example.com"
	for _, name := range []string{"remote_addr", "uri", "host", "args", "arg_y", "http_x_foo", "request_method", "cookie_b", "request"} {
		get := Variable(name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				get(c)
			}
		})
	}
	b.Run("LookupVar", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.LookupVar("remote_addr")
		}
	})
}

func TestTemplate(t *testing.T) {
	c := request("GET", "/", "")
	c.SetVar("you", "John")
	c.SetVar("me", "David")
	for in, want := range map[string]string{
		"": "", "xx": "xx", "$me": "David", "$me run": "David run", "talk with $me": "talk with David",
		"$you and $me": "John and David", "$eva and $me": " and David", `$you and \$me`: `John and \$me`,
		"${you}_${me}": "John_David", "${you}$me": "JohnDavid", "${you??}$me": "JohnDavid", "${you??Rose}$me": "JohnDavid",
		"${she??Rose}$me": "RoseDavid", "${ she ?? Rose }$me": "RoseDavid", "${she   ??     Rose}$me": "RoseDavid",
		"${you ?? Rose}$he??": "John??", "${you ?? Rose}$he??Jack": "John??Jack", "$": "$", "${}": "${}", "${you": "${you",
		"a$-b": "a$-b", "$$you": "$John", "${she??a ?? b}": "a", "$uri$is_args$args": "/",
	} {
		tpl, err := ParseTemplate(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := tpl.Render(c); got != want {
			t.Errorf("%q = %q, want %q", in, got, want)
		}
		if b, _ := tpl.Append(c, []byte("x")); string(b) != "x"+want {
			t.Errorf("%q appended = %q", in, b)
		}
		if got, _ := tpl.RenderEscaped(c, func(s string) string { return s }); got != want {
			t.Errorf("%q escaped = %q", in, got)
		}
	}
}

func TestTemplateCount(t *testing.T) {
	c := request("GET", "/?a=1", "")
	for in, want := range map[string]int{"": 0, "x": 0, "$arg_a": 1, "$arg_b": 0, "$arg_a$arg_b$uri": 2, "${arg_b ?? x}": 1, "${arg_b ??}": 0} {
		tpl, err := ParseTemplate(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, n := tpl.RenderCount(c); n != want {
			t.Errorf("%q resolved %d, want %d", in, n, want)
		}
		if tpl.HasVars() != strings.Contains(in, "$") {
			t.Errorf("%q HasVars = %v", in, tpl.HasVars())
		}
	}
	tpl, _ := ParseTemplate("/x$arg_a/$arg_a")
	if s, n := tpl.RenderEscaped(c, func(s string) string { return "<" + s + ">" }); s != "/x<1>/<1>" || n != 2 {
		t.Errorf("escaped %q, %d", s, n)
	}
	if _, err := ParseTemplate("${post_arg.a[}"); err == nil {
		t.Error("a bad JSONPath was accepted")
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("${a ?? b}$c")
	f.Fuzz(func(t *testing.T, s string) {
		tpl, err := ParseTemplate(s)
		if err != nil {
			return
		}
		c := request("GET", "/?a=1", "")
		got := tpl.Render(c)
		if !tpl.HasVars() && got != s {
			t.Fatalf("text without variables %q became %q", s, got)
		}
		if b, _ := tpl.Append(c, nil); !bytes.Equal(b, []byte(got)) {
			t.Fatalf("%q: Append %q, Render %q", s, b, got)
		}
	})
}

func TestPrefixesDoNotHideBuiltins(t *testing.T) {
	for name := range builtins {
		i := slices.IndexFunc(prefixes[:], func(p prefix) bool { return strings.HasPrefix(name, p.text) })
		if i >= 0 {
			t.Errorf("%s is hidden by %s*", name, prefixes[i].text)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	c := request("GET", "/a/b?x=1&y=2", "")
	tpl, err := ParseTemplate("$remote_addr-${arg_x ?? none}-$uri")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tpl.Render(c)
	}
}
