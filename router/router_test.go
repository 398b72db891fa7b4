package router

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// req is a request and what is expected of it: the route's ID ("" for none),
// and if wanted the captures as "name=value" and what matched.
type req struct {
	host, path, want string
	params           string
	matched          string // path, then host after a space if there is one
	method           string
	addr             string
	hostPort         string
}

func on(paths string, change ...func(*Route[string])) Route[string] {
	r := Route[string]{Paths: strings.Fields(paths)}
	for _, f := range change {
		f(&r)
	}
	return r
}

func hosts(names ...string) func(*Route[string]) {
	return func(r *Route[string]) { r.Hosts = names }
}
func methodsOf(names ...string) func(*Route[string]) {
	return func(r *Route[string]) { r.Methods = names }
}
func priority(n int) func(*Route[string]) { return func(r *Route[string]) { r.Priority = n } }
func order(n int64) func(*Route[string])  { return func(r *Route[string]) { r.Order = n } }
func from(nets ...string) func(*Route[string]) {
	return func(r *Route[string]) {
		for _, n := range nets {
			r.Addrs = append(r.Addrs, netip.MustParsePrefix(n))
		}
	}
}
func never(r *Route[string]) { r.When = func(*Input) bool { return false } }

var (
	allModes = []Mode{HostURI, URI, URIWithParameter}
	uriModes = []Mode{URI, URIWithParameter}
	noParam  = []Mode{HostURI, URI}
)

// tests: routes are called a, b, c … by their place.
var tests = []struct {
	name   string
	modes  []Mode
	routes []Route[string]
	reqs   []req
}{
	{"an exact path", allModes, []Route[string]{on("/hello")}, []req{
		{path: "/hello", want: "a", matched: "/hello"},
		{path: "/hello/"}, {path: "/hello2"}, {path: "/Hello"}, {path: "/"}, {path: ""}, {path: "/not_found"},
	}},
	{"a glued star", allModes, []Route[string]{on("/foo*")}, []req{
		{path: "/foo", want: "a", matched: "/foo*"}, {path: "/foobar", want: "a"}, {path: "/foo/x", want: "a"},
		{path: "/fo"}, {path: "/Foo"},
	}},
	{"a star after a slash", allModes, []Route[string]{on("/foo/*")}, []req{
		{path: "/foo/", want: "a", params: ":ext="}, {path: "/foo/x/y", want: "a", params: ":ext=x/y"},
		{path: "/foo"}, {path: "/foox"}, {path: "/foo/a\nb", want: "a", params: ":ext=a\nb"},
	}},
	{"everything", allModes, []Route[string]{on("/*")}, []req{
		{path: "/", want: "a"}, {path: "/x/y", want: "a", params: ":ext=x/y"}, {path: "x"},
	}},
	{"a star alone", allModes, []Route[string]{on("*")}, []req{
		{path: "/", want: "a", params: ":ext=/"}, {path: "x", want: "a"}, {path: "", want: "a"},
	}},
	{"a star with a name", allModes, []Route[string]{on("/foo/*rest")}, []req{
		{path: "/foo/x/y", want: "a", params: "rest=x/y", matched: "/foo/*rest"}, {path: "/foo/", want: "a", params: "rest="}, {path: "/foo"},
	}},
	{"a star in the middle", allModes, []Route[string]{on("/a/*/b")}, []req{
		{path: "/a/x/b", want: "a", params: ":ext=x"}, {path: "/a/x/y/b", want: "a", params: ":ext=x/y"},
		{path: "/a//b", want: "a", params: ":ext="}, {path: "/a/b"}, {path: "/a/x/b/"}, {path: "/a/x/bc"}, {path: "/a/x"},
		{path: "/a/b/b/b", want: "a", params: ":ext=b/b"},
	}},
	{"stars take as much as they can, from the left", allModes, []Route[string]{on("/*a/x/*b/y")}, []req{
		{path: "/1/x/2/x/3/y", want: "a", params: "b=3 a=1/x/2"}, {path: "/1/x/y"}, {path: "/1/x/y/y", want: "a", params: "b=y a=1"},
	}},
	{"a glued star and a slash after it", allModes, []Route[string]{on("/foo*/")}, []req{
		{path: "/foo", want: "a"}, {path: "/foo/", want: "a"}, {path: "/foox", want: "a"},
	}},
	{"a star with a slash after it", allModes, []Route[string]{on("/a/*/")}, []req{
		{path: "/a/x/", want: "a", params: ":ext=x"}, {path: "/a/x"}, {path: "/a//", want: "a", params: ":ext="},
	}},
	{"the last capture of a name", allModes, []Route[string]{on("/*x/a/*x")}, []req{
		{path: "/1/a/2", want: "a", params: "x=2"},
	}},
	{"several paths", allModes, []Route[string]{on("/a /b/*")}, []req{
		{path: "/a", want: "a", matched: "/a"}, {path: "/b/1", want: "a", matched: "/b/*"}, {path: "/b"},
	}},

	{"exact before prefix, longer before shorter, whatever the priority", allModes, []Route[string]{
		on("/*", priority(100)), on("/foo/*", priority(10)), on("/foo/bar*", priority(1)), on("/foo/bar"),
	}, []req{
		{path: "/foo/bar", want: "d"}, {path: "/foo/barx", want: "c"}, {path: "/foo/x", want: "b"}, {path: "/x", want: "a"},
	}},
	{"an exact path and a prefix of the same text", allModes, []Route[string]{on("/foo*", priority(9)), on("/foo")}, []req{
		{path: "/foo", want: "b"}, {path: "/foo1", want: "a"},
	}},
	{"priority among the same path", allModes, []Route[string]{on("/p"), on("/p", priority(2)), on("/p", priority(1)), on("/p", priority(-1))}, []req{
		{path: "/p", want: "b"},
	}},
	{"priority among the same prefix", allModes, []Route[string]{on("/server_port*", priority(2)), on("/server_port*", priority(3)), on("/server_port*", priority(1))}, []req{
		{path: "/server_port/aa", want: "b"},
	}},
	{"the longer pattern of equal priority", allModes, []Route[string]{on("/a/*"), on("/a/*/b"), on("/a/*/bb")}, []req{
		{path: "/a/x/b", want: "b"}, {path: "/a/x/bb", want: "c"}, {path: "/a/x/c", want: "a"},
	}},
	{"priority beats the longer pattern", allModes, []Route[string]{on("/a/*", priority(1)), on("/a/*/b")}, []req{
		{path: "/a/x/b", want: "a"},
	}},
	{"the earlier one otherwise", allModes, []Route[string]{on("/a", order(5)), on("/a", order(3)), on("/a", order(4))}, []req{
		{path: "/a", want: "b"},
	}},
	{"by ID in the end", allModes, []Route[string]{on("/a"), on("/a")}, []req{{path: "/a", want: "a"}}},
	{"less specific paths get their turn", allModes, []Route[string]{
		on("/a/b", methodsOf("POST")), on("/a/*", never), on("/*", from("10.0.0.0/8")), on("*"),
	}, []req{
		{path: "/a/b", want: "d", method: "GET"}, {path: "/a/b", want: "a", method: "POST"},
		{path: "/a/b", want: "c", method: "GET", addr: "10.1.1.1"},
	}},

	{"methods", allModes, []Route[string]{on("/m", methodsOf("GET", "PURGE")), on("/any"), on("/none", methodsOf())}, []req{
		{path: "/m", method: "GET", want: "a"}, {path: "/m", method: "PURGE", want: "a"}, {path: "/m", method: "POST"},
		{path: "/m", method: "PROPFIND"}, {path: "/m", method: "get"}, {path: "/m"},
		{path: "/any", method: "PROPFIND", want: "b"}, {path: "/none", method: "TRACE", want: "c"},
	}},
	{"addresses", allModes, []Route[string]{on("/a", from("127.0.0.1/32", "192.168.0.0/16", "2001:db8::/32"))}, []req{
		{path: "/a", addr: "127.0.0.1", want: "a"}, {path: "/a", addr: "192.168.3.4", want: "a"}, {path: "/a", addr: "2001:db8::1", want: "a"},
		{path: "/a", addr: "127.0.0.2"}, {path: "/a", addr: "::1"}, {path: "/a"},
	}},

	{"a host", allModes, []Route[string]{on("/hello", hosts("foo.com"))}, []req{
		{host: "foo.com", path: "/hello", want: "a", matched: "/hello foo.com"},
		{host: "www.foo.com", path: "/hello"}, {host: "not_found.com", path: "/hello"}, {path: "/hello"}, {host: "foo.com", path: "/x"},
	}},
	{"a host in upper case", allModes, []Route[string]{on("/server_port", hosts("test.coM"))}, []req{
		{host: "test.com", path: "/server_port", want: "a", matched: "/server_port test.com"},
	}},
	{"a wildcard host", allModes, []Route[string]{on("/hello", hosts("*.foo.com"))}, []req{
		{host: "www.foo.com", path: "/hello", want: "a", matched: "/hello *.foo.com"}, {host: "a.b.foo.com", path: "/hello", want: "a"},
		{host: "foo.com", path: "/hello"}, {host: "xfoo.com", path: "/hello"},
	}},
	{"a wildcard without a dot, and a star alone", allModes, []Route[string]{on("/a", hosts("*foo.com")), on("/b", hosts("*"))}, []req{
		{host: "xfoo.com", path: "/a", want: "a"}, {host: "foo.com", path: "/a", want: "a"}, {host: "a.foo.com", path: "/a", want: "a"},
		{host: "foo.org", path: "/a"}, {host: "any", path: "/b", want: "b", matched: "/b *"},
	}},
	{"several hosts", allModes, []Route[string]{on("/a", hosts("a.com", "*.b.com", "a.com"))}, []req{
		{host: "a.com", path: "/a", want: "a"}, {host: "x.b.com", path: "/a", want: "a"}, {host: "b.com", path: "/a"},
	}},
	{"a host in a colon", uriModes, []Route[string]{on("/a", hosts("foo.com:8080"))}, []req{
		{host: "foo.com", hostPort: "foo.com:8080", path: "/a", want: "a"}, {host: "foo.com", hostPort: "foo.com", path: "/a"},
		{host: "foo.com", hostPort: "foo.com:80", path: "/a"},
	}},
	{"a wildcard with a port, beside a host without", uriModes, []Route[string]{on("/a", hosts("*.foo.com:8080", "bar.com"))}, []req{
		{host: "a.foo.com", hostPort: "a.foo.com:8080", path: "/a", want: "a"}, {host: "a.foo.com", hostPort: "a.foo.com", path: "/a"},
		{host: "bar.com", hostPort: "bar.com:8080", path: "/a", want: "a"},
	}},
	{"ports are unknown to hosts before paths", []Mode{HostURI}, []Route[string]{on("/a", hosts("foo.com:8080"))}, []req{
		{host: "foo.com", hostPort: "foo.com:8080", path: "/a"},
	}},
	{"hosts before paths", []Mode{HostURI}, []Route[string]{
		on("/a/b", priority(100)), on("/*", hosts("*.com")), on("/a/*", hosts("*.foo.com")), on("/*", hosts("www.foo.com"), methodsOf("GET")),
	}, []req{
		{host: "www.foo.com", path: "/a/b", method: "GET", want: "d", matched: "/* www.foo.com"},
		{host: "www.foo.com", path: "/a/b", method: "POST", want: "c", matched: "/a/* *.foo.com"},
		{host: "www.foo.com", path: "/x", method: "POST", want: "b", matched: "/* *.com"},
		{host: "x.org", path: "/a/b", want: "a", matched: "/a/b"},
		{host: "x.org", path: "/x"},
	}},
	{"paths before hosts", uriModes, []Route[string]{
		on("/a/b"), on("/*", hosts("foo.com"), priority(100)), on("/a/*", hosts("*.com")),
	}, []req{
		{host: "foo.com", path: "/a/b", want: "a"}, {host: "foo.com", path: "/a/c", want: "c", matched: "/a/* *.com"}, {host: "foo.com", path: "/c", want: "b"},
	}},
	{"priorities within one host", []Mode{HostURI}, []Route[string]{
		on("/server_port", hosts("test.com"), priority(1)), on("/server_port", hosts("test.com"), priority(2)), on("/server_port", hosts("*.com"), priority(9)),
	}, []req{{host: "test.com", path: "/server_port", want: "b"}}},
	{"a host-less route as fallback", []Mode{HostURI}, []Route[string]{on("/hello", hosts("bar.com")), on("/hello", priority(-1))}, []req{
		{host: "www.foo.com", path: "/hello", want: "b"}, {host: "bar.com", path: "/hello", want: "a"},
	}},

	{"a colon is a character", noParam, []Route[string]{on("/file:listReputationHistories"), on("/n/:id")}, []req{
		{path: "/file:listReputationHistories", want: "a"}, {path: "/file:xx"}, {path: "/n/7"}, {path: "/n/:id", want: "b", params: ""},
	}},
	{"parameters", []Mode{URIWithParameter}, []Route[string]{on("/name/:name/bar")}, []req{
		{path: "/name/json/bar", want: "a", params: "name=json", matched: "/name/:name/bar"}, {path: "/name/with space/bar", want: "a", params: "name=with space"},
		{path: "/name/json2/foo"}, {path: "/name/json/"}, {path: "/name//bar"}, {path: "/not_found"}, {path: "/name/a/b/bar"}, {path: "/name/json/bar/"},
		{path: "/name/%2Fa/bar", want: "a", params: "name=%2Fa"},
	}},
	{"a parameter first", []Mode{URIWithParameter}, []Route[string]{on("/:name/foo")}, []req{
		{path: "/json/foo", want: "a", params: "name=json"}, {path: "/json/bbb/foo"}, {path: "/foo"},
	}},
	{"a parameter last", []Mode{URIWithParameter}, []Route[string]{on("/u/:id"), on("/u/:id/"), on("/u/me")}, []req{
		{path: "/u/7", want: "a", params: "id=7"}, {path: "/u/7/", want: "b", params: "id=7"}, {path: "/u/me", want: "c", params: ""}, {path: "/u/"},
	}},
	{"parameters and a star", []Mode{URIWithParameter}, []Route[string]{on("/:v/x/*rest")}, []req{
		{path: "/1/x/2/3", want: "a", params: "v=1 rest=2/3"}, {path: "/1/y/2"},
	}},
	{"the longest text before the first colon", []Mode{URIWithParameter}, []Route[string]{
		on("/a/:x", priority(9)), on("/a/b/:x"), on("/a/:x/:y"), on("/a/*", priority(9)),
	}, []req{
		{path: "/a/b/1", want: "b"}, {path: "/a/1", want: "a"}, {path: "/a/1/2", want: "d"},
	}},
	{"a colon inside a segment only ends the text", []Mode{URIWithParameter}, []Route[string]{on("/v1/users:batch")}, []req{
		{path: "/v1/users:batch", want: "a"}, {path: "/v1/usersx", want: "a"}, {path: "/v1/user"},
	}},
	{"a parameter after a star, in all modes", noParam, []Route[string]{on("/f/*/:id")}, []req{
		{path: "/f/a/b/7", want: "a", params: "id=7 :ext=a/b"}, {path: "/f/7"},
	}},
	{"text with a dot", allModes, []Route[string]{on("/a.b/*/c.d")}, []req{
		{path: "/a.b/x/c.d", want: "a"}, {path: "/axb/x/c.d"}, {path: "/a.b/x/cxd"},
	}},
	{"text that is a regular expression", allModes, []Route[string]{on("/foo*/*"), on("/*/(v1|v2)/*name"), on("/x/*/a(/b")}, []req{
		{path: "/foo/x", want: "a", params: ":ext=x"}, {path: "/fooo/x", want: "a"}, {path: "/foo*/x", want: "a"}, {path: "/foobar/x"},
		{path: "/a/v2/b/c", want: "b", params: ":ext=a name=b/c"}, {path: "/a/v3/b"}, {path: "/x/1/a(/b", want: "c"}, {path: "/x/1/a"},
	}},
	{"text with other characters", allModes, []Route[string]{on("/c++/(x)/*")}, []req{
		{path: "/c++/(x)/y", want: "a", params: ":ext=y"},
	}},
}

func TestMatch(t *testing.T) {
	for _, test := range tests {
		for i := range test.routes {
			test.routes[i].ID = string(rune('a' + i))
			test.routes[i].To = test.routes[i].ID
		}
		for _, mode := range test.modes {
			r, errs := New(mode, test.routes)
			if errs != nil {
				t.Errorf("%s: %v", test.name, errs)
			}
			for _, q := range test.reqs {
				if msg := try(r, q); msg != "" {
					t.Errorf("%s, %s, %+v: %s", mode, test.name, q, msg)
				}
			}
		}
	}
}

// try says what is not as expected, or "".
func try(r *Router[string], q req) string {
	in := Input{Host: q.host, HostPort: q.hostPort, Path: q.path, Method: q.method}
	if q.addr != "" {
		in.Addr = netip.MustParseAddr(q.addr)
	}
	to, ok := r.Match(&in)
	if to != q.want || ok != (q.want != "") {
		return fmt.Sprintf("route %q", to)
	}
	var params []string
	for _, p := range in.Params {
		params = append(params, p.Name+"="+p.Value)
	}
	if got := strings.Join(params, " "); q.params != "" && got != q.params {
		return fmt.Sprintf("captures %q", got)
	}
	if got := strings.TrimSpace(in.MatchedPath + " " + in.MatchedHost); q.matched != "" && got != q.matched {
		return fmt.Sprintf("matched %q", got)
	}
	return ""
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		route Route[string]
		want  string
	}{
		{Route[string]{ID: "1", Paths: []string{"/a"}, Methods: []string{"FOO"}}, `route "1": method "FOO" is unknown`},
		{Route[string]{ID: "1"}, `route "1": no path`},
		{Route[string]{ID: "1", Paths: []string{""}}, `route "1": path is empty`},
		{Route[string]{ID: "1", Paths: []string{"/a"}, Hosts: []string{""}}, `route "1": host is empty`},
	} {
		good := Route[string]{ID: "1", Paths: []string{"/good"}, To: "good"}
		r, _ := New(URI, []Route[string]{good})
		r, errs := r.With([]Route[string]{test.route}, nil)
		if len(errs) != 1 || errs[0].Error() != test.want {
			t.Errorf("errors %v, want %s", errs, test.want)
		}
		if to, _ := r.Match(&Input{Path: "/good"}); to != "good" {
			t.Error("the good version is lost")
		}
	}
	if _, errs := New[int]("tree", nil); len(errs) != 1 || errs[0].Error() != `router mode "tree" is unknown` {
		t.Errorf("errors %v", errs)
	}
}

func TestWith(t *testing.T) {
	r, _ := New(HostURI, []Route[string]{{ID: "1", Paths: []string{"/a"}, To: "old"}, {ID: "2", Paths: []string{"/b"}, To: "b"}})
	next, errs := r.With([]Route[string]{{ID: "1", Paths: []string{"/c"}, To: "new"}, {ID: "3", Paths: []string{"/a"}, Hosts: []string{"h"}, To: "h"}}, []string{"2", "9"})
	if errs != nil {
		t.Fatal(errs)
	}
	for _, test := range []struct {
		r                *Router[string]
		host, path, want string
	}{
		{r, "h", "/a", "old"}, {r, "h", "/b", "b"}, {r, "h", "/c", ""},
		{next, "h", "/a", "h"}, {next, "x", "/a", ""}, {next, "h", "/b", ""}, {next, "h", "/c", "new"},
	} {
		if to, _ := test.r.Match(&Input{Host: test.host, Path: test.path}); to != test.want {
			t.Errorf("%s%s: %q, want %q", test.host, test.path, to, test.want)
		}
	}
	if next.Len() != 2 {
		t.Errorf("Len = %d", next.Len())
	}
	empty, _ := next.With(nil, []string{"1", "3"})
	if empty.Len() != 0 || empty.names != nil || empty.wilds != nil || empty.any != nil || empty.ids != nil {
		t.Error("something is left of no routes")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var routes []Route[int]
	for i := range 2000 {
		routes = append(routes, Route[int]{ID: fmt.Sprint(i), To: i, Methods: []string{"GET"},
			Paths: []string{fmt.Sprintf("/a/%d/:id/*", i), fmt.Sprintf("/b/%d/*/end", i)}, Hosts: []string{fmt.Sprintf("*.h%d.example.com", i%7)}})
	}
	for _, mode := range allModes {
		r, _ := New(mode, routes)
		in := &Input{Host: "www.h6.example.com", Path: "/b/6/x/y/end", Method: "GET", Params: make([]Param, 0, 4)}
		if n := testing.AllocsPerRun(100, func() {
			if to, _ := r.Match(in); to != 6 {
				t.Fatal("no match")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", mode, n)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("/a/*/b", "/a/:x/*", "/a/1/b", "*.foo.com", "a.foo.com")
	f.Add("*", "/c*:d", "/c", "*", "")
	f.Fuzz(func(t *testing.T, one, two, path, pattern, name string) {
		// Naive takes the text for a regular expression of characters.
		for _, s := range []string{one, two, path, pattern, name} {
			if s == "" || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 || len(s) > 100 {
				return
			}
		}
		name = strings.ToLower(name)
		for _, mode := range allModes {
			routes := []Route[string]{{ID: "1", To: "1", Paths: []string{one, two}, Hosts: []string{pattern}}, {ID: "2", To: "2", Paths: []string{two}}}
			r, errs := New(mode, routes)
			if errs != nil {
				t.Fatal(errs)
			}
			in := Input{Host: name, Path: path}
			want, _ := naive{mode, routes}.match(&in)
			if to, _ := r.Match(&in); to != want.to || in.MatchedPath != want.path {
				t.Errorf("%s: %q by %q, want %q by %q", mode, to, in.MatchedPath, want.to, want.path)
			}
		}
	})
}
