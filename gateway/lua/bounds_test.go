package lua

import (
	"strings"
	"testing"
	"time"
)

// TestBounds: whatever a program does, it ends, and does not take the process
// with it.
func TestBounds(t *testing.T) {
	h := host(t, Options{Budget: 300 * time.Millisecond, Output: 1 << 20, Memory: 16 << 20, Dicts: map[string]int{"d": 20000}})
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
		"endless":                {`while true do end`, "time budget exceeded"},
		"deep":                   {`local function f() return 1 + f() end f()`, "stack overflow"},
		"wide":                   {`local t = {} for i = 1, 1e5 do t[i] = i end return unpack(t)`, "overflow"},
		"a table without bounds": {`local t = {} while true do t[#t + 1] = {1, 2, 3, 4} end`, "budget exceeded"},
		"in code that is loaded": {`local f = loadstring("local s = 'x' while true do s = s .. s end") f()`, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := eval(t, h, request("/"), x.code)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %q", err, x.want)
			}
			if took := time.Since(begin); took > 20*time.Second {
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
