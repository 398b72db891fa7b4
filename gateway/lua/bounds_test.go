package lua

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestBounds: whatever a program does, it ends, and does not take the process
// with it.
func TestBounds(t *testing.T) {
	o := Options{Budget: 300 * time.Millisecond, Output: 1 << 20, Memory: 16 << 20, Dicts: map[string]int{"d": 20000}}
	hasty := host(t, o)
	o.Budget = 10 * time.Minute // for what ends by another bound, however slow the machine
	h := host(t, o)
	for name, x := range map[string]struct{ code, want string }{
		"text that doubles":      {`local s = "x" while true do s = s .. s end`, "too large"},
		"doubles in a chain":     {`local s = "x" while true do s = "a" .. s .. "b" .. s end`, "too large"},
		"doubles in a call":      {`local s, f = "x", function(a, b) return a .. b end while true do s = f(s, s) end`, "too large"},
		"many long texts":        {`local t = {} for i = 1, 1e6 do t[i] = ("x"):rep(1e6) end`, "too many strings"},
		"many, caught":           {`while true do pcall(function() local t = {} for i = 1, 1e6 do t[i] = ("x"):rep(1e6) end end) end`, ""},
		"backtracking":           {`string.find(("a"):rep(30000), (".-"):rep(10) .. "b")`, "budget"},
		"backtracking, caught":   {`while true do pcall(string.find, ("a"):rep(30000), (".-"):rep(10) .. "b") end`, "budget"},
		"by a method":            {`local s = ("a"):rep(30000) return s:gsub((".-"):rep(10) .. "b", "")`, "budget"},
		"a wide number":          {`return ("%1000000000d"):format(1)`, "too long"},
		"a long join":            {`local t = {} for i = 1, 100 do t[i] = ("x"):rep(1e5) end return table.concat(t)`, "too large"},
		"a long replacement":     {`return (("x"):rep(1e5):gsub("x", ("y"):rep(1000)))`, "too large"},
		"endless":                {`while true do end`, "budget exceeded"},
		"deep":                   {`local function f() return 1 + f() end f()`, "stack overflow"},
		"wide":                   {`local t = {} for i = 1, 1e5 do t[i] = i end return unpack(t)`, "overflow"},
		"a table without bounds": {`local t = {} while true do t[#t + 1] = {1, 2, 3, 4} end`, "budget exceeded"},
		"many replacements":      {`ngx.re.gsub(("x"):rep(1e5), "x", ("y"):rep(1e5))`, "longer than"},
		"replaced by itself":     {`ngx.re.sub(("x"):rep(1e6), "x+", ("$0"):rep(1e5))`, "longer than"},
		"by itself, a pattern":   {`(("x"):rep(1e6):gsub(".+", ("%0"):rep(1e5)))`, "too large"},
		"a long set":             {`string.find(("b"):rep(1e6), "[" .. ("a"):rep(1e6) .. "]")`, "budget"},
		"a long set, repeated":   {`string.find(("b"):rep(1e6), "[^" .. ("a"):rep(1e6) .. "]*c")`, "budget"},
		"the same once more":     {`string.find(("a"):rep(1e6), "^(a*)%1b")`, "budget"},
		"a table in itself":      {`local t = {"x"} for i = 1, 20 do t = {t, t, t} end ngx.print(t)`, "printed"},
		"printed again":          {`local s = ("x"):rep(1e5) while true do require("apisix.core").response.say(s) end`, "printed"},
		"long, printed at once":  {`local s = ("x"):rep(1e5) local t = {} for i = 1, 1e5 do t[i] = s end ngx.say(t)`, "printed"},
		"endless in a coroutine": {`local co = coroutine.create(function() while true do end end) while true do coroutine.resume(co) end`, "budget exceeded"},
		"in one of a coroutine":  {`coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()`, "budget exceeded"},
		"many coroutines":        {`local t = {} while true do t[#t + 1] = coroutine.create(function() end) end`, "budget exceeded"},
		"coroutines in each":     {`local function f() coroutine.wrap(f)() end f()`, "C stack overflow"},
		"naps":                   {`while true do ngx.sleep(0) end`, "budget exceeded"},
		"in code that is loaded": {`local f = loadstring("local s = 'x' while true do s = s .. s end") f()`, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			h, begin := h, time.Now()
			if x.want == "" || strings.Contains(x.want, "budget") {
				h = hasty
			}
			_, err := eval(t, h, request("/"), x.code)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %q", err, x.want)
			}
			if took := time.Since(begin); took > 3*time.Minute {
				t.Errorf("it took %s", took)
			}
		})
	}
	// dictionaries stay within their size
	rep, err := eval(t, h, request("/"), `local d = ngx.shared.d for i = 1, 1000 do d:set(i, ("x"):rep(1000)) d:rpush("l", ("y"):rep(1000)) end
		ngx.print(d:free_space() >= 0, " ", d:capacity(), " ", d:get(1000) ~= nil)`)
	if err != nil || string(rep.Body.([]byte)) != "true 20000 true" {
		t.Errorf("%v %v", rep, err)
	}
	// and what is in bounds is as it was
	rep, err = eval(t, h, request("/"), `local a, b, c = "a", 2, nil
		ngx.print(a .. b .. "c" .. a, " ", a .. "-" .. b .. "-", " ", tostring(select("#", (a .. b))), " ", tostring(pcall(function() return a .. c end)),
			" ", setmetatable({}, {__concat = function(x, y) return "meta" end}) .. a .. b)`)
	if err != nil || string(rep.Body.([]byte)) != "a2ca a-2- 1 false meta" {
		t.Errorf("%q %v", rep.Body, err)
	}
}

// TestMemory: what fills the memory is cut off for that, wherever it runs, when
// there is time.
func TestMemory(t *testing.T) {
	h := host(t, Options{Budget: 10 * time.Minute, Memory: 32 << 20})
	const fill = `local t = {} while true do t[#t + 1] = {1, 2, 3, 4} end`
	for name, code := range map[string]string{
		"by itself":        fill,
		"in a coroutine":   `coroutine.wrap(function() ` + fill + ` end)()`,
		"in many":          `local all = {} while true do local f = coroutine.wrap(function() coroutine.yield({}) end) f() all[#all + 1] = f end`,
		"between yields":   `local t = {} local f = coroutine.wrap(function() while true do t[#t + 1] = {1, 2, 3, 4} coroutine.yield() end end) while true do f() end`,
		"under protection": `while true do pcall(coroutine.wrap(function() ` + fill + ` end)) end`,
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC() // what others left must not go away in between
			if _, err := eval(t, h, request("/"), code); err == nil || !strings.Contains(err.Error(), "memory budget exceeded") {
				t.Error(err)
			}
		})
	}
}

// TestCoroutines: those that the interpreter itself would let run for ever, or
// end in disorder, are refused.
func TestCoroutines(t *testing.T) {
	h := host(t, Options{})
	for name, x := range map[string]struct{ code, want string }{
		"each other": {`local a, b, seen
			a = coroutine.create(function() return coroutine.resume(b) end)
			b = coroutine.create(function() seen = {coroutine.resume(a)} return "b" end)
			ngx.print(tostring(coroutine.resume(a)), seen[2])`, "truecannot resume non-suspended coroutine"},
		"itself": {`local co co = coroutine.create(function() return coroutine.resume(co) end)
			ngx.print(select(3, coroutine.resume(co)))`, "cannot resume non-suspended coroutine"},
		"dead": {`local co = coroutine.create(function() end) coroutine.resume(co)
			ngx.print(select(2, coroutine.resume(co)))`, "can not resume a dead thread"},
		"error": {`local co = coroutine.create(function() error({7}) end)
			ngx.print(select(2, coroutine.resume(co))[1], select(2, pcall(coroutine.wrap(function() error("x", 0) end))))`, "7x"},
		"of Go":        {`ngx.print(coroutine.wrap(tostring)(1), tostring(coroutine.running()))`, "1nil"},
		"tail call":    {`local f = coroutine.wrap(function() return coroutine.yield(1) end) ngx.print(f(), f(2))`, "12"},
		"first of all": {`local f = coroutine.wrap(coroutine.yield) ngx.print(f(1), f(2))`, "12"},
		"in pcall":     {`ngx.print(select(2, coroutine.wrap(function() return pcall(coroutine.yield, 1) end)()))`, "attempt to yield across pcall"},
		"behind pcall": {`local f = coroutine.wrap(function() pcall(error) local v = coroutine.yield(1) return v end) ngx.print(f(), f(2))`, "12"},
		"pcall around": {`ngx.print(pcall(coroutine.wrap(function() coroutine.yield(1) end)))`, "true1"},
		"outside":      {`ngx.print(select(2, pcall(coroutine.yield, 1)))`, "attempt to yield from outside a coroutine"},
		"kept": {`local f = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
			local sum = 0 for i in f do sum = sum + i end ngx.print(sum, tostring(coroutine.running()))`, "6nil"},
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := eval(t, h, request("/"), x.code)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(rep.Body.([]byte)), x.want) {
				t.Errorf("%s, want %s", rep.Body, x.want)
			}
		})
	}
}
