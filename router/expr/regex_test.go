package expr

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// groups are the texts of a match and its groups; "-" for one that took no part.
func groups(s string, m []int) string {
	if m == nil {
		return "no match"
	}
	var out []string
	for i := 0; i < len(m); i += 2 {
		if m[i] < 0 {
			out = append(out, "-")
			continue
		}
		out = append(out, s[m[i]:m[i+1]])
	}
	return strings.Join(out, "|")
}

// regexTests say what PCRE answers.
var regexTests = []struct {
	pattern, flags, subject, want string
}{
	{`^/api/(\d+)/(.*)$`, "jo", "/api/12/x/y", "/api/12/x/y|12|x/y"},
	{`a|ab`, "", "ab", "a"},
	{`(a)|(b)`, "", "b", "b|-|b"},
	{`ABC`, "i", "xabc", "abc"},
	{`(?i)abc(?-i)D`, "", "ABCD", "ABCD"},
	{`(?i)abc(?-i)D`, "", "ABCd", "no match"},
	{`(?i:a)b`, "", "Ab", "Ab"},
	{`((?i)a)b`, "", "AB", "no match"},
	{`a+?`, "", "aaa", "a"},
	{`(?U)a+`, "", "aaa", "a"},
	{`(?U)a+?`, "", "aaa", "aaa"},

	// possessive, atomic, look-around, references
	{`a++b`, "", "aaab", "aaab"},
	{`a++ab`, "", "aaab", "no match"},
	{`(?:ab)*+abc`, "", "ababc", "no match"},
	{`[ab]?+b`, "", "b", "no match"},
	{`(?:a++){2}`, "", "aaB", "no match"},
	{`(?=[a-z])a*[^\n]+`, "", "\naaaBaa", "aaaBaa"},
	{`a|[^a]\w\x20(?=b)`, "", "b -cbBaa", "a"},
	{`(?>a+)b`, "", "aab", "aab"},
	{`foo(?=bar)`, "", "foobar", "foo"},
	{`foo(?!bar)`, "", "foobar", "no match"},
	{`(?<=\$)\d+`, "", "a$42", "42"},
	{`(?<!\d)\d{2}(?!\d)`, "", "123 45", "45"},
	{`(\w)\1`, "", "hello", "ll|l"},
	{`(?<c>\w)\k<c>`, "", "hello", "ll|l"},
	{`(?P<c>\w)(?P=c)`, "", "hello", "ll|l"},
	{`(\w)\g{-1}`, "", "hello", "ll|l"},
	{`(\w)\g1`, "", "hello", "ll|l"},
	{`(a)(?<n>b)(c)\3`, "", "abcc", "abcc|a|b|c"},
	{`(?'n'x)y`, "", "xy", "xy|x"},
	{`^(a)?(?(1)b|c)$`, "", "ab", "ab|a"},
	{`^(a)?(?(1)b|c)$`, "", "c", "c|-"},

	// ends
	{`abc$`, "", "abc\n", "abc"},
	{`abc$`, "", "abc\n\n", "no match"},
	{`abc$`, "D", "abc\n", "no match"},
	{`abc\Z`, "", "abc\n", "abc"},
	{`abc\z`, "", "abc\n", "no match"},
	{`^b$`, "", "a\nb\nc", "no match"},
	{`^b$`, "m", "a\nb\nc", "b"},
	{`(?m)^b$`, "", "a\nb\nc", "b"},
	{`\Ab`, "m", "a\nb", "no match"},
	{`b`, "a", "ab", "no match"},
	{`a|b`, "a", "ba", "b"},
	{`a.b`, "", "a\nb", "no match"},
	{`a.b`, "s", "a\nb", "a\nb"},
	{`(?s:a.b).`, "", "a\nbc", "a\nbc"},
	{`a\Nb`, "s", "a\nb", "no match"},

	// extended
	{"a b # comment\n c", "x", "abc", "abc"},
	{`a[ ]b\ c`, "x", "a b c", "a b c"},
	{`(?x) a (?-x) b`, "", "a b", "a b"},
	{`(?#comment)a`, "", "a", "a"},

	// bytes and characters
	{`^.$`, "", "é", "no match"},
	{`^..$`, "", "é", "é"},
	{`^.$`, "u", "é", "é"},
	{`é+`, "u", "éé", "éé"},
	{`é+`, "", "éé", "é"},
	{`É`, "i", "é", "no match"},
	{`É`, "iu", "é", "é"},
	{`(é)(.*)`, "", "aébü", "ébü|é|bü"},
	{`\w+`, "", "caf\xc3\xa9", "caf"},
	{`k`, "i", "\u212a", "no match"},
	{`[^a]`, "", "a\xff", "\xff"},
	{`.`, "u", "\xff", "no match"},
	{`\xe9`, "", "\xe9", "\xe9"},
	{`\x{e9}`, "u", "é", "é"},
	{`(?<=é)x`, "", "éx", "x"},
	{`\bx(?=y)`, "", "éxy", "x"},

	// classes and escapes
	{`[]a]+`, "", "]a", "]a"},
	{`[^]a]+`, "", "]ab", "b"},
	{`[a-]+`, "", "a-b", "a-"},
	{`[\w-]+`, "", "a-b c", "a-b"},
	{`[a\-z]+`, "", "b-a", "-a"},
	{`[\d\-_.]+`, "", "x1-2_3.", "1-2_3."},
	{`[+-.]+`, "", "a,-b", ",-"},
	{`[[:alpha:]]+`, "", "12ab", "ab"},
	{`[[:^alpha:]]+`, "", "ab12", "12"},
	{`[a-z&&[^b]]`, "", "b]", "b]"},
	{`[[a]+`, "", "[a", "[a"},
	{`[\]]`, "", "]", "]"},
	{`[\b]`, "", "a\b", "\b"},
	{`(?i)[^a]`, "", "AbB", "b"},
	{`(?i)[x-z]+`, "", "XyZ", "XyZ"},
	{`\s+`, "", "a \t\v\n", " \t\v\n"},
	{`\h+`, "", "a \t\n", " \t"},
	{`\R`, "", "a\r\nb", "\r\n"},
	{`\S+`, "", " ab ", "ab"},
	{`[\S]+`, "", " ab ", "ab"},
	{`[^\S\n]+`, "", "\n \n", " "},
	{`\Qa.b\E+`, "", "a.bb", "a.bb"},
	{`\Qa.b`, "", "axb", "no match"},
	{`\x41\102\x{43}\e`, "", "ABC\x1b", "ABC\x1b"},
	{`\cA\a\f`, "", "\x01\a\f", "\x01\a\f"},
	{`\/\-\_\:\@`, "", "/-_:@", "/-_:@"},
	{`\0`, "", "a\x00", "\x00"},
	{`\p{Lu}+`, "", "aBC", "BC"},
	{`\p{^Lu}`, "", "Bc", "c"},

	// repetition
	{`a{2}`, "", "aaa", "aa"},
	{`a{2,}`, "", "aaa", "aaa"},
	{`a{1,2}?`, "", "aaa", "a"},
	{`a{,2}`, "", "a{,2}", "a{,2}"},
	{`a{`, "", "a{", "a{"},
	{`{id}`, "", "{id}", "{id}"},
	{`(?:a{2}){2}`, "", "aaaa", "aaaa"},
	{`a{1001}`, "", strings.Repeat("a", 1001), strings.Repeat("a", 1001)},
	{``, "", "abc", ""},
	{`(a*)*`, "", "b", "|"},
	{`^(?:.+\.)?example\.com$`, "", "a.example.com", "a.example.com"},
	{`^((?!admin).)*$`, "", "/user/1", "/user/1|1"},
	{`^((?!admin).)*$`, "", "/admin/1", "no match"},
}

func TestRegex(t *testing.T) {
	for _, test := range regexTests {
		r, err := CompileRegex(test.pattern, test.flags)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if got := groups(test.subject, r.FindSubmatchIndex(test.subject)); got != test.want {
			t.Errorf("%q %q on %q: %q, want %q", test.pattern, test.flags, test.subject, got, test.want)
		}
		if r.Match(test.subject) != (test.want != "no match") {
			t.Errorf("%q %q on %q: Match is not as FindSubmatchIndex", test.pattern, test.flags, test.subject)
		}
	}
}

// Both engines must answer alike wherever the linear one can answer.
func TestEnginesAgree(t *testing.T) {
	for _, test := range regexTests {
		r, err := CompileRegex(test.pattern, test.flags)
		if err != nil || r.linear == nil {
			continue
		}
		b := *r
		b.linear = nil
		if got := groups(test.subject, b.FindSubmatchIndex(test.subject)); got != test.want {
			t.Errorf("%q %q on %q: %q, want %q", test.pattern, test.flags, test.subject, got, test.want)
		}
	}
}

func TestRegexLinear(t *testing.T) {
	for pattern, want := range map[string]bool{
		`^/api/(\d+)$`: true, `[[:alpha:]]\h\R\Q.\E`: true, `(?<n>a)+?(?i)b`: true,
		`(?=a)`: false, `(a)\1`: false, `a++`: false,
	} {
		r, err := CompileRegex(pattern, "jo")
		if err != nil || r.Linear() != want {
			t.Errorf("%q: Linear = %v, %v", pattern, !want, err)
		}
	}
}

func TestRegexErrors(t *testing.T) {
	for _, test := range []struct{ pattern, flags, want string }{
		{`a`, "k", `unknown flag "k" (flags "k")`},
		{`(a`, "", `regex "(a": missing )`},
		{`a)`, "", `regex "a)": unmatched parentheses`},
		{`*a`, "", `regex "*a": quantifier does not follow a repeatable item`},
		{`(?:|+)`, "", `regex "(?:|+)": quantifier does not follow a repeatable item`},
		{`[a`, "", `regex "[a": missing ] of a character class`},
		{`[z-a]`, "", `regex "[z-a]": range out of order in character class`},
		{`a\`, "", `regex "a\\": \ at end of pattern`},
		{`[[:foo:]]`, "", `regex "[[:foo:]]": unknown POSIX class name "foo"`},
		{`(?R)`, "", `regex "(?R)": group (?R is not supported`},
		{`(?|a)`, "", `regex "(?|a)": branch reset (?| is not supported`},
		{`a\Kb`, "", `regex "a\\Kb": \K is not supported`},
		{`\x{100}`, "", `regex "\\x{100}": character \x{100} is out of range`},
		{"\xff", "u", `regex "\xff": pattern is not UTF-8`},
	} {
		_, err := CompileRegex(test.pattern, test.flags)
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: error %v, want %s", test.pattern, err, test.want)
		}
	}
	for _, pattern := range []string{`(a)\2`, `\k<x>`, `\p{Nope}`, `(?<1a>b)`, `(?P=`, `\g{-3}`} {
		if _, err := CompileRegex(pattern, ""); err == nil {
			t.Errorf("%q: no error", pattern)
		}
	}
}

func TestRegexNames(t *testing.T) {
	r, err := CompileRegex(`(a)(?<b>b(?:x))(?P<c>c)?`, "jo")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "", "b", "c"}; !slices.Equal(r.Names(), want) {
		t.Errorf("Names = %q", r.Names())
	}
}

// A pattern that explodes under backtracking ends at the time limit, as no match.
func TestRegexTimeout(t *testing.T) {
	r, err := CompileRegex(`^(?=x?)(a+)+$`, "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Match(strings.Repeat("a", 40) + "!") {
		t.Error("matches")
	}
}

func TestTemplate(t *testing.T) {
	for _, test := range []struct{ pattern, template, subject, first, all string }{
		{`^/a/(.*)/(.*)`, `/$2/$1`, "/a/b/c", "/c/b", "/c/b"},
		{`(\d)`, `<${1}0>`, "1 2", "<10> 2", "<10> <20>"},
		{`\d`, `$0$0`, "1 2", "11 2", "11 22"},
		{`\d`, `$$1`, "1 2", "$1 2", "$1 $1"},
		{`(?<n>\d)`, `${n}$n-`, "1", "11-", "11-"},
		{`(a)|(b)`, `[$1$2]`, "ab", "[a]b", "[a][b]"},
		{`a`, `$1$12`, "xa", "x", "x"},
		{`z`, `y`, "abc", "abc", "abc"},
		{`(?<=a)b`, `c`, "abb", "acb", "acb"},
		{`é(.)`, `$1`, "éxé!", "xé!", "x!"},
		{`x*`, `-`, "abc", "-abc", "-a-b-c-"},
		{`(?=[bc])x*`, `-`, "abc", "a-bc", "a-b-c"},
	} {
		r, err := CompileRegex(test.pattern, "jo")
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := r.Template(test.template)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := tmpl.Replace(test.subject)
		all, _ := tmpl.ReplaceAll(test.subject)
		if first != test.first || all != test.all {
			t.Errorf("%q → %q on %q: %q and %q", test.pattern, test.template, test.subject, first, all)
		}
	}
	r, _ := CompileRegex(`(a)`, "")
	for _, text := range []string{`$`, `a$ b`, `${`, `${}`, `${1`, `$nope`, `${1a}`} {
		if _, err := r.Template(text); err == nil {
			t.Errorf("template %q: no error", text)
		}
	}
}

func FuzzRegex(f *testing.F) {
	for _, test := range regexTests {
		f.Add(test.pattern, test.flags, test.subject)
	}
	f.Fuzz(func(t *testing.T, pattern, flags, subject string) {
		if len(pattern) > 200 || len(subject) > 200 {
			return
		}
		r, err := CompileRegex(pattern, flags)
		if err != nil {
			return
		}
		m := r.FindSubmatchIndex(subject)
		if m == nil {
			return
		}
		if len(m) != 2*len(r.Names()) {
			t.Fatalf("%d places for %d groups", len(m), len(r.Names()))
		}
		for i := 0; i < len(m); i += 2 {
			if m[i] > m[i+1] || m[i] < -1 || m[i+1] > len(subject) {
				t.Fatal(fmt.Sprint("places ", m))
			}
		}
	})
}

func BenchmarkRegex(b *testing.B) {
	for _, pattern := range []string{`^/api/v\d+/users/(\d+)$`, `^/api/v\d+/users/(?!x)(\d+)$`} {
		b.Run(pattern, func(b *testing.B) {
			r, err := CompileRegex(pattern, "jo")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Match("/api/v1/users/123456")
			}
		})
	}
}
