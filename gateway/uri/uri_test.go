package uri

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, x := range []struct {
		in, path, query string
		err             error
	}{
		{"/", "/", "", nil},
		{"/a/b", "/a/b", "", nil},
		{"/a/b?x=1&y=%20", "/a/b", "x=1&y=%20", nil},
		{"/a?", "/a", "", nil},
		{"/a?b?c", "/a", "b?c", nil},
		{"/a#f", "/a", "", nil},
		{"/a?b#f?g", "/a", "b", nil},
		{"/a#f?b", "/a", "", nil},
		{"//a///b//", "/a/b/", "", nil},
		{"/./a/./b/.", "/a/b/", "", nil},
		{"/a/../b", "/b", "", nil},
		{"/a/b/..", "/a/", "", nil},
		{"/a/..", "/", "", nil},
		{"/a/%2e%2E/b", "/b", "", nil},
		{"/a%2Fb", "/a/b", "", nil},
		{"/a%2f%2fb", "/a/b", "", nil},
		{"/a%2f..%2Fb", "/b", "", nil},
		{"/.well-known/x", "/.well-known/x", "", nil},
		{"/..a/...", "/..a/...", "", nil},
		{"/a.b/c..", "/a.b/c..", "", nil},
		{"/a%20b%3Fc%23d%25e", "/a b?c#d%e", "", nil},
		{"/a%2525", "/a%25", "", nil},
		{"/a%0Ab", "/a\nb", "", nil},
		{"/a+b", "/a+b", "", nil},
		{"/\xc3\xa9", "/\xc3\xa9", "", nil},
		{"/a;p/b", "/a;p/b", "", nil},
		{"/a\\..\\b", "/a\\..\\b", "", nil},
		{"/..", "", "", ErrClimb},
		{"/../", "", "", ErrClimb},
		{"/a/../../b", "", "", ErrClimb},
		{"/a/..%2f..%2fb", "", "", ErrClimb},
		{"/%2e%2e", "", "", ErrClimb},
		{"/a%00", "", "", ErrEscape},
		{"/a%", "", "", ErrEscape},
		{"/a%2", "", "", ErrEscape},
		{"/a%zz", "", "", ErrEscape},
		{"/a b", "", "", ErrControl},
		{"/a\x00b", "", "", ErrControl},
		{"/a\x7fb", "", "", ErrControl},
		{"/a?b\nc", "", "", ErrControl},
		{"/a#b\rc", "", "", ErrControl},
		{"", "", "", ErrForm},
		{"*", "", "", ErrForm},
		{"a/b", "", "", ErrForm},
	} {
		path, query, err := Canonical(x.in)
		if !errors.Is(err, x.err) || err == nil && (path != x.path || query != x.query) {
			t.Errorf("Canonical(%q) = %q, %q, %v; want %q, %q, %v", x.in, path, query, err, x.path, x.query, x.err)
		}
	}
	long := "/" + strings.Repeat("a/./", 1000)
	if path, _, err := Canonical(long); err != nil || path != "/"+strings.Repeat("a/", 1000) {
		t.Errorf("a long path became %q, %v", path, err)
	}
}

func TestCanonicalAllocatesNothing(t *testing.T) {
	for _, in := range []string{"/", "/a/b.html?x=1", "/.well-known/acme", "/a/b/."} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = Canonical(in) }); n != 0 {
			t.Errorf("Canonical(%q): %v allocations", in, n)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e/%2f", "//", "/a%25%32%65?x#y", "/a/./..//b%3f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		path, query, err := Canonical(in)
		if err != nil {
			return
		}
		if path == "" || path[0] != '/' || strings.Contains(path, "//") || strings.ContainsAny(query, " #\r\n") {
			t.Fatalf("Canonical(%q) = %q, %q", in, path, query)
		}
		for _, seg := range strings.Split(path, "/") {
			if seg == "." || seg == ".." {
				t.Fatalf("Canonical(%q) = %q has a dot segment", in, path)
			}
		}
		out := Encode(path)
		again, _, err := Canonical(out)
		if err != nil || again != path {
			t.Fatalf("Canonical(%q) = %q, encoded %q comes back as %q, %v", in, path, out, again, err)
		}
		if kept, ok := KeepSlashes(in, path); ok && strings.ReplaceAll(kept, "%2F", "/") != strings.ReplaceAll(path, "%2F", "/") {
			t.Fatalf("KeepSlashes(%q) = %q for %q", in, kept, path)
		}
		if s, err := Servlet(path); err == nil && strings.Contains(s, ";") {
			t.Fatalf("Servlet(%q) = %q", path, s)
		}
	})
}

func TestTrimSlash(t *testing.T) {
	for in, want := range map[string]string{"/": "/", "/a": "/a", "/a/": "/a", "/a/b/": "/a/b"} {
		if got := TrimSlash(in); got != want {
			t.Errorf("TrimSlash(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestServlet(t *testing.T) {
	for in, want := range map[string]string{"/hello": "/hello", "/hello;world": "/hello", "/hello;a=b/world;a/;": "/hello/world/",
		"/a;b/": "/a/", "/;": "/"} {
		if got, err := Servlet(in); err != nil || got != want {
			t.Errorf("Servlet(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{"/;/a": "empty segment with parameters", "/.;": "dot segment with parameter",
		"/..;": "dot segment with parameter", "/b/;/c": "empty segment with parameters", "/%2e;": "encoded dot segment",
		"/%2E%2e;x/a": "encoded dot segment"} {
		if _, err := Servlet(in); err == nil || err.Error() != want {
			t.Errorf("Servlet(%q): %v, want %s", in, err, want)
		}
	}
}

func TestKeepSlashes(t *testing.T) {
	for _, x := range []struct {
		target, kept string
		ok           bool
	}{
		{"/a%2fb/c?x=%2F", "/a%2Fb/c", true},
		{"/a%2Fb%20c", "/a%2Fb c", true},
		{"/a/b?x=%2F", "", false},
		{"/a%2f../b", "", false},
		{"/a%2f%2fb", "", false},
		{"/x%252f", "", false},
	} {
		path, _, err := Canonical(x.target)
		if err != nil {
			t.Fatal(err)
		}
		if kept, ok := KeepSlashes(x.target, path); kept != x.kept || ok != x.ok {
			t.Errorf("KeepSlashes(%q, %q) = %q, %v; want %q, %v", x.target, path, kept, ok, x.kept, x.ok)
		}
	}
}

func TestEncode(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b-._~!$&'()*+,;=:@[]": "/a/b-._~!$&'()*+,;=:@[]", "/a b?#%": "/a%20b%3F%23%25", "/\r\n\x00": "/%0D%0A%00",
		"/é": "/%C3%A9", "\"<>\\^`{|}\x7f": "%22%3C%3E%5C%5E%60%7B%7C%7D%7F",
	} {
		if got := Encode(in); got != want {
			t.Errorf("Encode(%q) = %q, want %q", in, got, want)
		}
	}
	if got := EncodeControls("/a b?c=%20\r\n\x7fé"); got != "/a b?c=%20%0D%0A%7Fé" {
		t.Errorf("EncodeControls = %q", got)
	}
}

func BenchmarkCanonical(b *testing.B) {
	for name, in := range map[string]string{"plain": "/api/v1/users/12345?x=1&y=2", "complex": "/api//v1/../v2/a%20b?x=1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = Canonical(in)
			}
		})
	}
}
