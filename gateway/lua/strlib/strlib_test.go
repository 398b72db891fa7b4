package strlib

import (
	"errors"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
)

// interpreter has the bounded functions as globals.
func interpreter(t testing.TB, b *Bounds) *lua.LState {
	t.Helper()
	l := lua.NewState()
	t.Cleanup(l.Close)
	for name, f := range b.Functions() {
		l.SetGlobal(name, l.NewFunction(f))
	}
	l.SetGlobal("concat", l.NewFunction(b.Concat))
	lib := func(t, name string) lua.LGFunction {
		return l.GetGlobal(t).(*lua.LTable).RawGetString(name).(*lua.LFunction).GFunction
	}
	l.SetGlobal("format", l.NewFunction(b.Format(lib("string", "format"))))
	l.SetGlobal("join", l.NewFunction(b.Join))
	l.SetGlobal("upper", l.NewFunction(b.Counted(lib("string", "upper"))))
	return l
}

func free() *Bounds {
	return &Bounds{Over: func() error { return nil }, Largest: 1 << 20, Build: func(int) bool { return true }}
}

// results are what an expression yields, joined.
func results(l *lua.LState, code string) string {
	top := l.GetTop()
	defer func() { l.SetTop(top) }()
	if err := l.DoString("return " + code); err != nil {
		var api *lua.ApiError
		if errors.As(err, &api) {
			return "error: " + api.Object.String()
		}
		return "error: " + err.Error()
	}
	var list []string
	for i := top + 1; i <= l.GetTop(); i++ {
		list = append(list, l.Get(i).String())
	}
	return strings.Join(list, " ")
}

func TestFunctions(t *testing.T) {
	l := interpreter(t, free())
	for code, want := range map[string]string{
		`find("hello world", "o w")`: "5 7", `find("hello", "l+")`: "3 4", `find("hello", "xyz")`: "nil",
		`find("a.b", ".", 1, true)`: "2 2", `find("a.b", "%.")`: "2 2", `find("hello", "", 10)`: "6 5", `find("", "")`: "1 0",
		`find("hello", "l", -2)`: "4 4", `find("hello", "^l")`: "nil", `find("hello", "^h")`: "1 1", `find("key=val", "(%w+)=(%w+)")`: "1 7 key val",
		`find("abc", "()b()")`: "2 2 2 3", `find("a$b", "$b")`: "2 3", `find("ab", "b$")`: "2 2",
		`match("  trim  ", "^%s*(.-)%s*$")`: "trim", `match("2026-11-22", "(%d+)-(%d+)-(%d+)")`: "2026 11 22",
		`match("[[x]]", "%[%[(.-)%]%]")`: "x", `match("THE (quick) fox", "%((%a+)%)")`: "quick", `match("f(a(b)c)d", "%b()")`: "(a(b)c)",
		`match("THE (quick) fox", "%f[%a]%a+%f[%A]")`: "THE", `match("abab", "(ab)%1")`: "ab", `match("x", "y?x")`: "x", `match("aaab", "a-b")`: "aaab",
		`match("a]b", "[]]")`: "]", `match("a-b", "[a%-]+")`: "a-", `match("a^b", "[%^b]+")`: "^b", `match("é", "[\128-\255]+")`: "é",
		`match("0x1F", "%x+", 3)`: "1F", `match("a\0b", "%z")`: "\x00", `match("abc", "[^a]+")`: "bc", `match("abc", ".-")`: "",
		`gsub("hello world", "o", "0")`: "hell0 w0rld 2", `gsub("hello", "", "-")`: "-h-e-l-l-o- 6", `gsub("abc", "%w", "%0%0", 2)`: "aabbc 2",
		`gsub("hello world", "(%w+) (%w+)", "%2 %1")`: "world hello 1", `gsub("$name", "%$(%w+)", {name="x"})`: "x 1", `gsub("abc", "b", false)`: "error: ",
		`gsub("abc", "%w", function(c) if c == "b" then return "B" end end)`: "aBc 3", `gsub("abc", "^a", "x")`: "xbc 1", `gsub("a", "a", "%%")`: "% 1",
		`gsub("abc", "%w", function() return {} end)`: "error: ", `gsub("a.b", "%.", "%")`: "a%b 1",
		`rep("ab", 3)`: "ababab", `rep("x", -1)`: "", `concat("a", 1, "b")`: "a1b", `concat("a", nil)`: "error: ",
		`concat("a", "b", setmetatable({}, {__concat = function(x, y) return x .. "!" end}), "c")`: "error: ",
		`concat("a", setmetatable({}, {__concat = function(x, y) return x .. "!" end}))`:           "a!",
		`format("%5.2f|%-4d|%s|%%|%x", 1.5, 7, "s", 255)`:                                          " 1.50|7   |s|%|ff",
		`format("%1000d", 1)`: "error: ", `format("%.100f", 1)`: "error: ", `format("%[1]s%[1]s", "x")`: "error: ", `format("%*d", 9, 1)`: "error: ",
		`join({1, "b", 3}, ", ")`: "1, b, 3", `join({})`: "", `join({1,2,3}, "-", 2, 3)`: "2-3",
		`find("a", "[a")`: "error: ", `find("a", "%")`: "error: ", `find("a", "(a")`: "error: ", `match("a", "a)")`: "error: ", `find("a", "%1")`: "error: ",
		`find("a", "%b")`: "error: ", `find("a", "%f")`: "error: ", `match(("a"):rep(300), ("a?"):rep(300))`: "error: ",
		`find("a", ("()"):rep(40))`: "error: ", `find("x", "[%")`: "error: ", `find("x", "[a-")`: "error: ", `find("x", "[^")`: "error: ", `match("b", "[a-]")`: "nil",
		`match("-", "[a-]")`: "-",
	} {
		got := results(l, code)
		if want == "error: " && strings.HasPrefix(got, want) {
			continue
		}
		if got != want {
			t.Errorf("%s is %q, want %q", code, got, want)
		}
	}
	for code, want := range map[string]string{`for w in gmatch("one two", "%a+") do out = (out or "") .. w .. ";" end`: "one;two;",
		`out = "" for k, v in gmatch("a=1, b=2", "(%w+)=(%w+)") do out = out .. k .. v end`: "a1b2",
		`out = "" for p in gmatch("abc", "()") do out = out .. p end`:                       "1234",
		`out = "" for w in gmatch("abc", "^a") do out = out .. w end`:                       ""} {
		if err := l.DoString("out = nil " + code); err != nil || l.GetGlobal("out").String() != want {
			t.Errorf("%s is %q, %v", code, l.GetGlobal("out"), err)
		}
	}
}

// TestTime: a pattern that backtracks for ever ends when the call's time does.
func TestTime(t *testing.T) {
	for _, code := range []string{
		`find(("a"):rep(10000), ("a-"):rep(20) .. "b")`, `match(("a"):rep(10000), ".-.-.-.-.-b")`, `gsub(("a"):rep(10000), "(a*)*b", "")`,
		`match(("("):rep(100000), ("%b()"):rep(1))`, `gmatch(("a"):rep(10000), "a*a*a*a*a*b")()`,
	} {
		b, asked := free(), 0
		b.Over = func() error {
			if asked++; asked > 3 {
				return errors.New("time is over")
			}
			return nil
		}
		if got := results(interpreter(t, b), code); !strings.Contains(got, "time is over") {
			t.Errorf("%s: %.80s", code, got)
		}
	}
}

// TestSize: nothing is longer than it may be, nor is too much built in all.
func TestSize(t *testing.T) {
	for _, code := range []string{`rep("x", 1048577)`, `concat(rep("x", 1000000), rep("y", 100000))`, `gsub(rep("x", 1000), "x", rep("y", 2000))`,
		`join({rep("x", 600000), rep("y", 600000)})`, `join({1,2}, rep("x", 1048576) )`, `format("%s%s%s%s%s", rep("x", 1000000), rep("x", 1000000), rep("x", 1000000), rep("x", 1000000), rep("x", 1000000))`} {
		if got := results(interpreter(t, free()), code); !strings.Contains(got, "too large") {
			t.Errorf("%s: %.80s", code, got)
		}
	}
	b, left := free(), 1<<22
	b.Build = func(n int) bool { left -= n; return left >= 0 }
	l := interpreter(t, b)
	if err := l.DoString(`t = {} for i = 1, 1000 do t[i] = upper(rep("x", 100000)) end`); err == nil || !strings.Contains(err.Error(), "too many strings") {
		t.Error(err)
	}
}

// FuzzMatch: no pattern does anything but match or fail.
func FuzzMatch(f *testing.F) {
	for _, p := range []string{"", "%", "[", "[^", "[]", "%b", "%f[a]", "(()", "a-", "(a*(.)%2)", "[%a-z]", "^$", "[a-"} {
		f.Add("some (text) 123", p)
	}
	l := interpreter(f, free())
	f.Fuzz(func(t *testing.T, src, pat string) {
		b, n := free(), 0
		b.Over = func() error {
			if n++; n > 10 {
				return errors.New("time is over")
			}
			return nil
		}
		for _, fn := range []lua.LGFunction{b.find, b.match, b.gsub, b.gmatch} {
			l.SetTop(0)
			call := lua.P{Fn: l.NewFunction(fn), NRet: lua.MultRet, Protect: true}
			err := l.CallByParam(call, lua.LString(src), lua.LString(pat), lua.LString("%1"))
			if err != nil && strings.Contains(err.Error(), "runtime error") {
				t.Fatalf("%q in %q: %v", pat, src, err)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	l := interpreter(b, free())
	f := l.GetGlobal("match")
	b.ReportAllocs()
	for b.Loop() {
		if err := l.CallByParam(lua.P{Fn: f, NRet: 2, Protect: true}, lua.LString("Bearer abc.def-123"), lua.LString("^(%a+) ([%w%.%-]+)$")); err != nil {
			b.Fatal(err)
		}
		l.SetTop(0)
	}
}
