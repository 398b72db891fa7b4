package pcre

import "testing"

func TestCompileErrors(t *testing.T) {
	for _, x := range []struct{ pattern, options, want string }{
		{".+(", "", `pcre_compile() failed: missing ) in ".+("`},
		{"^b(", "i", `pcre_compile() failed: missing ) in "^b("`},
		{"a)", "jo", `pcre_compile() failed: unmatched parentheses in "a)" at ")"`},
		{"[a", "jo", `pcre_compile() failed: missing terminating ] for character class in "[a"`},
		{"hello", "h", `unknown flag "h" (flags "h")`},
	} {
		_, err := Compile(x.pattern, x.options)
		if err == nil || err.Error() != x.want {
			t.Errorf("Compile(%q, %q): %v, want %s", x.pattern, x.options, err, x.want)
		}
	}
}

func TestReplace(t *testing.T) {
	for _, x := range []struct {
		pattern, options, with, in string
		all                        bool
		want                       string
	}{
		{"hello", "jo", "HELLO", "hello hello", false, "HELLO hello"},
		{"hello", "jo", "HELLO", "hello hello", true, "HELLO HELLO"},
		{"HELLO", "joi", "x", "hello", false, "x"},
		{"^/test/(.*)/(.*)/(.*)", "jo", "/$1_$2_${3}?a=c", "/test/p/q/r", false, "/p_q_r?a=c"},
		{"(a)(b)?", "jo", "[$0$2$9]", "aab", true, "[a][abb]"},
		{"x", "jo", "$$1", "axb", false, "a$1b"},
		{"none", "jo", "x", "text", true, "text"},
		{"(?<=a)b", "jo", "[$0]", "ab b", true, "a[b] b"},
		{`(\w)\1`, "jo", "<$1>", "aabb", true, "<a><b>"},
		{"a # comment\n b", "jox", "X", "ab", false, "X"},
		{".", "jo", "x", "\n", false, "\n"},
		{".", "jos", "x", "\n", false, "x"},
		{"b", "joa", "x", "ab", false, "ab"},
	} {
		r, err := Compile(x.pattern, x.options)
		if err != nil {
			t.Errorf("Compile(%q): %v", x.pattern, err)
			continue
		}
		with, err := ParseReplacement(x.with)
		if err != nil {
			t.Errorf("ParseReplacement(%q): %v", x.with, err)
			continue
		}
		if got, err := r.Replace(x.in, with, x.all); got != x.want || err != nil {
			t.Errorf("%q in %q: %q, %v, want %q", x.pattern, x.in, got, err, x.want)
		}
	}
}

func TestReplacementErrors(t *testing.T) {
	for _, bad := range []string{"$", "$x", "${1", "${}", "a$"} {
		if _, err := ParseReplacement(bad); err == nil {
			t.Errorf("ParseReplacement(%q) did not fail", bad)
		}
	}
}

func TestFind(t *testing.T) {
	for _, pattern := range []string{"(b)(x)?", "(?<=a)(b)(x)?"} {
		r, err := Compile(pattern, "jo")
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Find("abc")
		if err != nil || len(m) != 3 || m[0] != "b" || m[1] != "b" || m[2] != "" {
			t.Errorf("%s: %q, %v", pattern, m, err)
		}
		if m, err := r.Find("zzz"); m != nil || err != nil {
			t.Errorf("%s: %q, %v for no match", pattern, m, err)
		}
		if !r.Match("ab") || r.Match("zz") {
			t.Errorf("%s: Match is wrong", pattern)
		}
	}
}

func TestTimeLimit(t *testing.T) {
	r, err := Compile(`(?=a)(a+)+$`, "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Match("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!") {
		t.Error("matched")
	}
}
