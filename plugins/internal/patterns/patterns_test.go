package patterns

import "testing"

func TestMatch(t *testing.T) {
	l, err := Compile([]string{"^a", "b+$"}, "i")
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{"A": true, "xB": true, "xa": false, "": false} {
		if l.Match(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	if List(nil).Match("a") {
		t.Error("an empty list matches")
	}
}

func TestErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		".+(": `pcre_compile() failed: missing ) in ".+("`,
		"a)":  `pcre_compile() failed: unmatched parentheses in "a)"`,
	} {
		if _, err := Compile([]string{"a", pattern}, ""); err == nil || err.Error() != want {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
