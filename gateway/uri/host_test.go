package uri

import "testing"

func TestHost(t *testing.T) {
	for in, want := range map[string]string{
		"a.com": "a.com", "a.com:80": "a.com", "a.com:": "a.com", "": "",
		"[::1]": "[::1]", "[::1]:80": "[::1]", "1.2.3.4:5": "1.2.3.4", "a:b": "a:b",
	} {
		if got := Host(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestBracketed(t *testing.T) {
	for in, want := range map[string]string{"a.com": "a.com", "::1": "[::1]", "[::1]": "[::1]", "1.2.3.4": "1.2.3.4"} {
		if got := Bracketed(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
