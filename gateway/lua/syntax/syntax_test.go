package syntax

import "testing"

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
