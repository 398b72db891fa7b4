package lua

import (
	"context"
	"strings"
	"testing"

	"sluice/gateway/wire"
	"sluice/plugins"
)

func host(t testing.TB, o Options) *Host {
	t.Helper()
	h := New(o)
	t.Cleanup(h.Close)
	return h
}

func request(target string, fields ...string) *plugins.Ctx {
	path, query, _ := strings.Cut(target, "?")
	req := &wire.Request{Method: "GET", Target: target, Host: "example.com", Major: 1, Minor: 1, Body: strings.NewReader("")}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	c := &plugins.Ctx{}
	c.Reset(context.Background(), req, nil, nil)
	c.Path, c.Query = path, query
	return c
}

// eval runs the body of a function(conf, ctx) in the access phase.
func eval(t *testing.T, h *Host, c *plugins.Ctx, body string) (*plugins.Reply, error) {
	t.Helper()
	f, err := h.Functions([]string{"return function(conf, ctx) " + body + " end"}, []byte(`{"phase":"access","n":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := f.Call(c, "access")
	return c.Printed(rep), err
}

// TestPathOfNginx: what a plugin sets nginx's path to is seen in ngx.var alone,
// and ends where a program sets another one.
func TestPathOfNginx(t *testing.T) {
	c := request("/p")
	c.Rewritten = "/new"
	rep, err := eval(t, host(t, Options{}), c, `local function show() ngx.print(ngx.var.uri, ngx.var.document_uri, ctx.var.uri, " ") end
		show() ngx.req.set_uri("/own") show()`)
	if body, _ := rep.Body.([]byte); err != nil || string(body) != "/new/new/p /own/own/own " {
		t.Errorf("%v, %v", rep, err)
	}
}

func TestPrinted(t *testing.T) {
	h := host(t, Options{Dicts: map[string]int{"d": 10000}})
	for _, x := range []struct{ name, code, want string }{
		{"say", `ngx.say("a", 1, 2.5, true, nil, {"b", {"c"}}, ngx.null)`, "a12.5truenilbcnull\n"},
		{"var", `ngx.print(ngx.var.uri, ctx.var.arg_a, ngx.var.nope)`, "/pxnil"},
		{"conf", `ngx.print(conf.phase, require("cjson").encode(conf))`, `access{"phase":"access","n":[]}`},
		{"headers", `ngx.print(ngx.req.get_headers()["X_A"], ngx.req.get_headers().host, ngx.var.http_x_a)`, "1example.com1"},
		{"args", `local a = ngx.req.get_uri_args() ngx.print(a.a, a.b[2], tostring(a.flag))`, "x2true"},
		{"json", `local j = require("apisix.core").json ngx.print(j.encode({a={1,2},b={}}), j.encode({}), j.encode({1.5, 2^53, "x/\"é"}))`,
			`{"a":[1,2],"b":{}}{}[1.5,9.007199254741e+15,"x/\"é"]`},
		{"json array", `local c = require("cjson") ngx.print(c.encode(setmetatable({}, c.array_mt)), c.encode(c.decode('{"a":[],"b":null,"c":{}}')))`,
			`[]{"a":[],"b":null,"c":{}}`},
		{"json fault", `local v, e = require("cjson.safe").decode("{a") ngx.print(tostring(v), " ", e and "err")`, "nil err"},
		{"match", `local m = ngx.re.match("hello 123", "([a-z]+) (?<n>\\d+)") ngx.print(m[0], m[1], m.n)`, "hello 123hello123"},
		{"gsub", `ngx.print((ngx.re.gsub("a1b2", "[0-9]", "<$0>")), (ngx.re.gsub("a1b2", "[0-9]", function(m) return m[0] + 1 end)))`, "a<1>b<2>a2b3"},
		{"split", `ngx.print(table.concat(require("ngx.re").split("a,b,,c", ","), "|"))`, "a|b||c"},
		{"find", `ngx.print(ngx.re.find("xxabc", "(b)", "jo", nil, 1))`, "44"},
		{"codec", `ngx.print(ngx.encode_base64("hi"), ngx.decode_base64("aGk="), ngx.md5("a"), ngx.escape_uri("a b/"), ngx.unescape_uri("a%20b+c"))`,
			"aGk=hi0cc175b9c0f1b6a831c399e269772661a%20b%2Fa b c"},
		{"encode args", `ngx.print(ngx.encode_args({a = "1 2"}), ngx.decode_args("x=1&x=2").x[2])`, "a=1%202" + "2"},
		{"time", `ngx.print(ngx.http_time(0), ngx.parse_http_time("Thu, 01 Jan 1970 00:00:10 GMT"), ngx.cookie_time(0))`,
			"Thu, 01 Jan 1970 00:00:00 GMT10Thu, 01-Jan-70 00:00:00 GMT"},
		{"bit", `ngx.print(bit.band(6, 3), bit.bor(4, 1), bit.tohex(255, 4))`, "2500ff"},
		{"core table", `local t = require("apisix.core").table ngx.print(t.concat(t.deepcopy({1,2}), ","), t.array_find({"a","b"}, "b"), t.nkeys({a=1}), tostring(t.try_read_attr({a={}}, "a", "b", "c")))`, "1,221nil"},
		{"core string", `local s = require("apisix.core.string") ngx.print(s.find("a.b", "."), tostring(s.has_prefix("abc", "ab")), s.rfind_char("a/b/c", "/"))`, "2true4"},
		{"schema", `local ok, err = require("apisix.core").schema.check({type="object",properties={a={type="integer"}}}, {a="x"}) ngx.print(tostring(ok), err)`,
			`falseproperty "a" validation failed: wrong type: expected integer, got string`},
		{"dict", `local d = ngx.shared.d d:set("k", 1) ngx.print(d:incr("k", 2), d:get("k"), tostring(ngx.shared.none), d:add("k", 1))`, "33nilfalseexistsfalse"},
		{"pcall", `local ok, err = pcall(error, "x", 0) ngx.print(tostring(ok), err, tostring(pcall(function() return 1 end)))`, "falsextrue"},
		{"xpcall", `ngx.print(xpcall(function() error({1}) end, function(e) return type(e) end))`, "falsetable"},
		{"coroutine", `local f = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) ngx.print(f(1), f(10))`, "220"},
		{"load", `ngx.print(loadstring("return 1 + 1")())`, "2"},
		{"concat", `local t = {} for i = 1, 50000 do t[i] = i % 10 end ngx.print(#table.concat(t, ","), table.concat({1, "b", 3}, "-", 2), table.concat({}), table.concat({1, 2, 3}, "", 2, 2), tostring(pcall(table.concat, {1, {}})))`,
			"99999b-32false"},
		{"bad status", `ngx.print(tostring(pcall(ngx.exit, 7)), tostring(pcall(ngx.exit, 1e6)), tostring(pcall(require("apisix.core").response.exit, 99, "x")))`, "falsefalsefalse"},
		{"smuggled", `ngx.req.set_header("Transfer-Encoding ", "chunked") ngx.print(ngx.req.raw_header(true))`,
			"Host: example.com\r\nX-A: 1\r\nTransfer-Encoding%20: chunked\r\n\r\n"},
		{"deep copy", `local core = require("apisix.core") ngx.print(core.json.encode(core.table.deepcopy(core.json.decode('{"a":[],"b":{"c":[]}}'))))`,
			`{"a":[],"b":{"c":[]}}`},
		{"far timer", `ngx.print(ngx.timer.at(1e300, print))`, "nildelay is longer than 1m0s"},
		{"method", `ngx.print(("x"):rep(3), ("a"):upper())`, "xxxA"},
		{"no escape", `ngx.print(tostring(io), tostring(os.execute), tostring(dofile), tostring(os.exit), tostring(getmetatable("")))`, "nilnilnilnilfalse"},
		{"ctx", `ctx.x = {1} ngx.ctx.y = 2 ngx.print(ngx.ctx.api_ctx.x[1], ngx.ctx.y, ngx.get_phase())`, "12access"},
		{"url", `ngx.print(require("net.url").parse("args=%40%23%24%25%5E%26").path)`, "args=@%23$%25%5E&"},
		{"sha", `local h = require("resty.sha256"):new() h:update("a") ngx.print(require("resty.string").to_hex(h:final()):sub(1, 8))`, "ca978112"},
	} {
		t.Run(x.name, func(t *testing.T) {
			rep, err := eval(t, h, request("/p?a=x&b=1&b=2&flag", "X-A: 1"), x.code)
			if err != nil {
				t.Fatal(err)
			}
			if rep == nil || string(rep.Body.([]byte)) != x.want {
				t.Errorf("got %q, want %q", rep.Body, x.want)
			}
		})
	}
}
