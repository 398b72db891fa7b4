package syntax

import (
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	for _, x := range []struct{ src, want string }{
		{"a", `[string "a"]:1: '=' expected near '<eof>'`},
		{"invalid script", `[string "invalid script"]:1: '=' expected near 'script'`},
		{"return function(vars) ", `[string "return function(vars) "]:1: 'end' expected near '<eof>'`},
		{"if code == then\nend", `[string "if code == then..."]:1: unexpected symbol near 'then'`},
		{"local x = \n\n", `[string "local x = ..."]:3: unexpected symbol near '<eof>'`},
		{"return 1", ""},
	} {
		_, err := Compile(x.src, x.src)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%q:\n got %s\nwant %s", x.src, got, x.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("a")
	f.Add("return function( end")
	f.Fuzz(func(t *testing.T, src string) {
		if _, err := Compile(src, src); err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
	})
}

// TestDepth: what the compiler would take minutes for, and much of the stack, is
// refused; what people write is not.
func TestDepth(t *testing.T) {
	for _, x := range []struct{ before, open, shut string }{
		{"return ", "{", "}"}, {"return ", "f(", ")"}, {"return ", "not ", ""}, {"return ", "- ", ""},
		{"return ", "(function() return ", " end)"}, {"", "do ", "end "}, {"if x then ", "elseif x then ", ""},
	} {
		const n = 20_000
		src := x.before + strings.Repeat(x.open, n) + "a()" + strings.Repeat(x.shut, n)
		if strings.HasPrefix(src, "if") {
			src += " end"
		}
		if _, err := Compile(src, "x"); err == nil || !strings.HasSuffix(err.Error(), "chunk has too many syntax levels") {
			t.Errorf("%q %d times: %v", x.open, n, err)
		}
	}
	for _, x := range []struct{ before, again string }{{"return 1", " + x"}, {"return x == 1", " or x == 1"}} {
		if _, err := Compile(x.before+strings.Repeat(x.again, 3000), "x"); err != nil {
			t.Errorf("%s 3000 times: %v", x.again, err)
		}
	}
}
