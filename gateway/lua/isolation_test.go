package lua

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/plugins"
)

// single makes a host with one state, so that whoever comes next meets what the
// last one left.
func single(t testing.TB) *Host { return host(t, Options{States: 1, Budget: 20 * time.Second}) }

func build(t testing.TB, h *Host, code string) *Functions {
	t.Helper()
	f, err := h.Functions([]string{code}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func printed(t *testing.T, f *Functions, c *plugins.Ctx) string {
	t.Helper()
	rep, err := f.Call(c, "access")
	if err != nil {
		t.Fatal(err)
	}
	if rep = c.Printed(rep); rep == nil {
		return ""
	}
	return fmt.Sprintf("%s", rep.Body)
}

func TestProgramsSeeNothingOfEachOther(t *testing.T) {
	h := single(t)
	a := build(t, h, `return function(conf, ctx)
		leak = "g"
		string.leak, table.leak, ngx.leak, math.huge = "s", "t", "n", 7
		rawset(string, "raw", "r")
		require("apisix.core").leak = "c"
		require("apisix.core").json.encode = function() return "evil" end
		require("cjson").encode = function() return "evil" end
		_G.print = nil
		ctx.leak, ngx.ctx.leak, ctx.var.leak = "x", "y", "z"
		ngx.header.x_leak = "h"
		ngx.status = 418
		saved = ctx
	end`)
	if _, err := a.Call(request("/"), "access"); err != nil {
		t.Fatal(err)
	}
	probe := `return function(conf, ctx)
		ngx.print(tostring(leak), tostring(string.leak), tostring(table.leak), tostring(ngx.leak), tostring(math.huge ~= 7),
			tostring(string.raw), tostring(("").leak), tostring(require("apisix.core").leak), require("apisix.core").json.encode(1),
			require("cjson").encode(1), type(print), tostring(ctx.leak), tostring(ngx.ctx.leak), tostring(ctx.var.leak),
			tostring(ngx.header.x_leak), ngx.status, tostring(saved))
	end`
	want := "nilnilnilniltruenilnilnil11functionnilnilnilnil0nil"
	if got := printed(t, build(t, h, probe), request("/")); got != want {
		t.Errorf("another program sees %s", got)
	}
	again := build(t, h, `local first = true
		return function(conf, ctx)
			ngx.print(tostring(leak), tostring(ctx.leak), tostring(ngx.ctx.leak))
			leak, ctx.leak, ngx.ctx.leak = 1, 2, 3
		end`)
	for range 2 {
		if got := printed(t, again, request("/")); got != "nilnilnil" {
			t.Errorf("the next request sees %s", got)
		}
	}
}

// TestNothingIsLeftBehind: what a program has kept of a request's tables, or
// written past their metatables, shows it nothing of other requests, nor others
// what it wrote.
func TestNothingIsLeftBehind(t *testing.T) {
	h := single(t)
	spy := build(t, h, `local ctx1, mine, first = nil, {}, true
		return function(conf, ctx)
			if first then
				first, ctx1, ngx.ctx = false, ctx, mine
				for _, t in pairs({ngx.var, ctx.var, ngx.header, ngx.arg, ngx.shared}) do
					rawset(t, "uri", "raw")
					table.insert(t, "raw")
				end
				return
			end
			ngx.print(tostring(ctx1.secret), tostring(mine.secret))
		end`)
	if _, err := spy.Call(request("/spy"), "access"); err != nil {
		t.Fatal(err)
	}
	other := build(t, h, `return function(conf, ctx)
		ctx.secret, ngx.ctx.secret = "a", "b"
		ngx.print(ngx.var.uri, ctx.var.uri, tostring(ngx.header.uri), tostring(ngx.shared.uri), tostring(ngx.var[1]), tostring(ngx.arg.uri))
	end`)
	if got := printed(t, other, request("/other")); got != "/other/othernilnilnilnil" {
		t.Errorf("another program sees %s", got)
	}
	if got := printed(t, spy, request("/spy")); got != "nilnil" {
		t.Errorf("of another request it sees %s", got)
	}
}

// TestNamesAreForgotten: a table that all calls share must not grow with the
// names that they come up with.
func TestNamesAreForgotten(t *testing.T) {
	h := single(t)
	f := build(t, h, `local n = 0 return function(conf, ctx)
		for i = 1, 1000 do n = n + 1 _G["g" .. n], ctx["c" .. n] = i, i rawset(ngx.var, "v" .. n, i) end
	end`)
	call := func() {
		if _, err := f.Call(request("/"), "access"); err != nil {
			t.Fatal(err)
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	call()
	before := heap()
	for range 100 {
		call()
	}
	if after := heap(); after > before+4<<20 {
		t.Errorf("the heap grew by %d bytes", after-before)
	}
}

func TestRequestKeepsItsFields(t *testing.T) {
	h := single(t)
	set := build(t, h, `return function(conf, ctx)
		ctx.t = {a = {1, 2}, f = print}
		ngx.ctx.n = 5
		ctx.var.num = 7
		ctx.self = ctx.t
	end`)
	get := build(t, h, `return function(conf, ctx)
		ngx.print(ctx.t.a[2], tostring(ctx.t.f), ngx.ctx.n, ctx.var.num + 1, tostring(ctx.self == ctx.t))
	end`)
	c, other := request("/a"), request("/b")
	if _, err := set.Call(c, "rewrite"); err != nil {
		t.Fatal(err)
	}
	if _, err := get.Call(other, "access"); err == nil {
		t.Error("another request has the fields")
	}
	if f := Field(c, "t"); string(f) != `{"a":[1,2]}` {
		t.Errorf("a plugin reads %s", f)
	}
	if f := Field(c, "none"); f != nil {
		t.Errorf("a plugin reads %s", f)
	}
	if got := printed(t, get, c); got != "2nil58true" {
		t.Errorf("got %s", got)
	}
}

func TestDeepTables(t *testing.T) {
	h := single(t)
	f := build(t, h, `return function(conf, ctx)
		local t = {}
		ctx.deep, ctx.me = t, ctx
		for i = 1, 20000 do t.t = {} t = t.t end
		t.t = ctx.deep
		ngx.header.x = {t}
		require("apisix.core").response.add_header("y", {t})
		ngx.print(pcall(require("cjson").encode, ctx.deep))
	end`)
	if got := printed(t, f, request("/")); !strings.HasSuffix(got, "Cannot serialise, excessive depth (1001)") {
		t.Errorf("got %.80s", got)
	}
}

func TestEndlessLoopsAreCutOff(t *testing.T) {
	h := host(t, Options{Budget: 30 * time.Millisecond})
	for name, code := range map[string]string{
		"loop":      `while true do end`,
		"caught":    `while true do pcall(function() while true do end end) end`,
		"coroutine": `local f = coroutine.wrap(function() while true do end end) while true do pcall(f) end`,
		"recursion": `local function f() return 1 + f() end f()`,
		"tail":      `local function f() return f() end f()`,
		"memory":    `local s = ("x"):rep(2^40)`,
		"handler":   `while true do xpcall(error, function() while true do end end) end`,
		"string":    `string.rep("x", 1e9)`,
	} {
		t.Run(name, func(t *testing.T) {
			f := build(t, h, "return function(conf, ctx)\n"+code+" end")
			_, err := f.Call(request("/"), "access")
			place := `[string "return function(conf, ctx)..."]:2:`
			if name == "recursion" {
				place = `[string "return function(conf, ctx)..."]: ` // the interpreter does not say where
			}
			if err == nil || !strings.Contains(err.Error(), place) {
				t.Errorf("got %v", err)
			}
		})
	}
	if got := printed(t, build(t, h, `return function() ngx.print("fine") end`), request("/")); got != "fine" {
		t.Error("the host does not recover")
	}
}

func TestExitCannotBeCaught(t *testing.T) {
	h := host(t, Options{})
	for _, code := range []string{
		`ngx.exit(403)`, `pcall(ngx.exit, 403)`, `xpcall(function() ngx.exit(403) end, function() end)`,
		`coroutine.wrap(function() ngx.exit(403) end)()`, `coroutine.resume(coroutine.create(function() pcall(ngx.exit, 403) end))`,
		`return require("apisix.core").response.exit(403)`, `return 403`,
	} {
		f := build(t, h, `return function(conf, ctx) `+code+` ; end`)
		for range 2 {
			rep, err := f.Call(request("/"), "access")
			if err != nil || rep == nil || rep.Status != 403 {
				t.Errorf("%s: %+v, %v", code, rep, err)
			}
		}
	}
}

func TestSleepEndsWithTheRequest(t *testing.T) {
	h := host(t, Options{Budget: 10 * time.Second, Blocking: time.Hour})
	f := build(t, h, `return function(conf, ctx) ngx.sleep(1000) end`)
	ctx, cancel := context.WithCancel(context.Background())
	c := request("/")
	c.Context = ctx
	cancel()
	if _, err := f.Call(c, "access"); err == nil || !strings.Contains(err.Error(), "sleep cut short") {
		t.Errorf("got %v", err)
	}
	f = build(t, h, `return function(conf, ctx) ngx.sleep(0.03) ngx.print("awake") end`)
	if got := printed(t, f, request("/")); got != "awake" {
		t.Error("sleeping costs computing time")
	}
}

func TestTimers(t *testing.T) {
	h := New(Options{Dicts: map[string]int{"d": 1 << 16}, Timers: 2})
	f := build(t, h, `return function(conf, ctx)
		ctx.mine = 1
		for i = 1, 3 do
			local ok, err = ngx.timer.at(0, function(premature, n)
				ngx.shared.d:incr("sum", n, 0)
				ngx.shared.d:set("ctx", tostring(pcall(function() return ngx.var.uri end)))
			end, i)
			if not ok then ngx.print(err) end
		end
	end`)
	if got := printed(t, f, request("/")); got != "too many pending timers" {
		t.Errorf("got %q", got)
	}
	h.work.Wait()
	get := build(t, h, `return function() ngx.print(ngx.shared.d:get("sum"), ngx.shared.d:get("ctx"), ngx.timer.running_count()) end`)
	if got := printed(t, get, request("/")); got != "3false0" {
		t.Errorf("got %q", got)
	}
	h.Close()
}

// TestManyAtOnce is for the race detector: states, programs and closing.
func TestManyAtOnce(t *testing.T) {
	before := runtime.NumGoroutine()
	h := New(Options{States: 4, Dicts: map[string]int{"d": 1 << 16}})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				f, err := h.Functions([]string{fmt.Sprintf(`local n = %d return function(conf, ctx)
					ctx.a = {n} ctx.var.b = ctx.var.uri
					ngx.shared.d:incr("all", 1, 0)
					local core = require("apisix.core")
					ngx.print(core.json.encode({n, ctx.a[1], ngx.re.gsub("a", "a", "b")}), tostring(ngx.null))
				end`, i%3)}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				c := request(fmt.Sprintf("/%d", g))
				for range 3 {
					if _, err := f.Call(c, "access"); err != nil {
						t.Error(err)
					}
				}
				f.Close()
			}
		})
	}
	wg.Wait()
	f := build(t, h, `return function() ngx.print(ngx.shared.d:get("all")) end`)
	if got := printed(t, f, request("/")); got != "1200" {
		t.Errorf("%s calls were counted", got)
	}
	f.Close()
	for _, s := range h.idle {
		s.sweep()
		if len(s.loaded) != 0 {
			t.Errorf("%d closed programs are still loaded", len(s.loaded))
		}
	}
	if len(h.protos) != 0 {
		t.Errorf("%d prototypes are left", len(h.protos))
	}
	h.Close()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}
