package cache

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

func header(fields ...string) *wire.Header {
	h := new(wire.Header)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return h
}

func TestControl(t *testing.T) {
	d := Control(header("Cache-Control: Max-Age=60 , private", "X: no-store", "cache-control: s-maxage=\"5\",min-fresh=x,only-if-cached, foo=\"a,b\""))
	if d.MaxAge != 60 || d.SharedMaxAge != 5 || d.MinFresh != 0 || !d.Private || !d.OnlyIfCached || d.NoStore || d.NoCache || d.Public {
		t.Errorf("%+v", d)
	}
	d = Control(header("Cache-Control: no-cache=\"Set-Cookie\", no-store, public, proxy-revalidate, max-age=99999999999999999999"))
	if !d.NoCache || !d.NoStore || !d.Public || !d.MustRevalidate || d.MaxAge != longest || d.SharedMaxAge != -1 {
		t.Errorf("%+v", d)
	}
}

func TestLifetime(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		h    *wire.Header
		want time.Duration
		told bool
	}{
		{header(), 0, false},
		{header("Cache-Control: max-age=60, s-maxage=5"), 5 * time.Second, true},
		{header("Cache-Control: max-age=60", "Expires: Wed, 01 May 2024 13:00:00 GMT"), time.Minute, true},
		{header("Cache-Control: max-age=-1"), 0, true},
		{header("Expires: Wed, 01 May 2024 13:00:00 GMT"), time.Hour, true},
		{header("Expires: Wed, 01 May 2024 11:00:00 GMT"), 0, true},
		{header("Expires: 0"), 0, true},
	} {
		d := Control(c.h)
		if got, told := d.Lifetime(c.h, now); got != c.want || told != c.told {
			t.Errorf("%v: %v, %v", c.h, got, told)
		}
	}
	if got := Age(header("Age: 7")); got != 7*time.Second {
		t.Error(got)
	}
	if got := Age(header("Age: -7")); got != 0 {
		t.Error(got)
	}
}

func TestVary(t *testing.T) {
	for _, c := range []struct {
		h    *wire.Header
		want []string
		ok   bool
	}{
		{header(), nil, true},
		{header("Vary:  "), nil, true},
		{header("Vary: B , a", "vary: A,,c"), []string{"a", "b", "c"}, true},
		{header("Vary: a, *"), nil, false},
		{header("Vary: " + strings.Repeat("x", 40) + strings.Repeat(",y", 10)), []string{strings.Repeat("x", 40), "y"}, true},
		{header("Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,0,1,2,3,4,5,6"), nil, false},
	} {
		if got, ok := Vary(c.h); ok != c.ok || ok && !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, %v", c.h, got, ok)
		}
	}
}

func TestSelect(t *testing.T) {
	const date, later = "Wed, 01 May 2024 12:00:00 GMT", "Wed, 01 May 2024 13:00:00 GMT"
	resp := header(`ETag: "a"`, "Last-Modified: "+date, "Accept-Ranges: bytes")
	weak := header(`ETag: W/"a"`)
	whole := Part{Status: 200, N: 10}
	for _, c := range []struct {
		req, resp *wire.Header
		want      Part
	}{
		{header(), resp, whole},
		{header(`If-None-Match: "a"`), resp, Part{Status: 304}},
		{header(`If-None-Match: W/"a"`), resp, Part{Status: 304}},
		{header(`If-None-Match: "b", "a"`), weak, Part{Status: 304}},
		{header(`If-None-Match: "b", "ab"`), resp, whole},
		{header("If-None-Match: *"), resp, Part{Status: 304}},
		{header("If-None-Match: "), resp, whole},
		{header("If-Modified-Since: " + date), resp, Part{Status: 304}},
		{header("If-Modified-Since: " + later), resp, whole}, // as nginx: exactly the same
		{header("If-Modified-Since: " + date), weak, whole},
		{header("If-Modified-Since: x"), resp, whole},
		{header("If-Modified-Since: "+date, `If-None-Match: "b"`), resp, whole},
		{header("If-Modified-Since: "+date, `If-None-Match: "a"`), resp, Part{Status: 304}},
		{header(`If-Match: "a"`), resp, whole},
		{header(`If-Match: "b"`), resp, Part{Status: 412}},
		{header(`If-Match: "a"`), weak, Part{Status: 412}},
		{header("If-Unmodified-Since: " + date), resp, whole},
		{header("If-Unmodified-Since: Wed, 01 May 2024 11:00:00 GMT"), resp, Part{Status: 412}},
		{header("Range: bytes=0-3"), resp, Part{206, 0, 4, "bytes 0-3/10"}},
		{header("Range: bytes=4-"), resp, Part{206, 4, 6, "bytes 4-9/10"}},
		{header("Range: bytes=-3"), resp, Part{206, 7, 3, "bytes 7-9/10"}},
		{header("Range: bytes=-30"), resp, Part{206, 0, 10, "bytes 0-9/10"}},
		{header("Range: bytes=8-99999999999999999999"), resp, Part{206, 8, 2, "bytes 8-9/10"}},
		{header("Range: bytes=10-"), resp, Part{Status: 416, Range: "bytes */10"}},
		{header("Range: bytes=-0"), resp, Part{Status: 416, Range: "bytes */10"}},
		{header("Range: bytes=99999999999999999999-"), resp, Part{Status: 416, Range: "bytes */10"}},
		{header("Range: bytes=0-1,3-4"), resp, whole},
		{header("Range: bytes=3-1"), resp, whole},
		{header("Range: bytes=-"), resp, whole},
		{header("Range: bytes=+1-2"), resp, whole},
		{header("Range: lines=1-2"), resp, whole},
		{header("Range: bytes"), resp, whole},
		{header("Range: bytes=0-3"), weak, whole},
		{header("Range: bytes=0-3", `If-Range: "a"`), resp, Part{206, 0, 4, "bytes 0-3/10"}},
		{header("Range: bytes=0-3", `If-Range: "b"`), resp, whole},
		{header("Range: bytes=0-3", "If-Range: "+date), resp, Part{206, 0, 4, "bytes 0-3/10"}},
		{header("Range: bytes=0-3", "If-Range: "+later), resp, whole},
	} {
		if got := Select(c.req, c.resp, 10); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.req, got, c.want)
		}
	}
	if got := Select(header("Range: bytes=0-3"), resp, -1); got.Status != 200 {
		t.Errorf("a range of what is not known: %+v", got)
	}
}

func TestParts(t *testing.T) {
	seen := map[string]string{}
	for _, parts := range [][]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"ab"}, {"a\x00\x00\x00\x01b"}, {"a", "", "b"}} {
		var b []byte
		for _, p := range parts {
			b = AppendPart(b, p)
		}
		if other, ok := seen[string(b)]; ok {
			t.Errorf("%q and %s make the same key", parts, other)
		}
		seen[string(b)] = strings.Join(parts, "|")
	}
	for s, want := range map[string]int{"": 0, "1": 1, "1:2": 2, "2:2:2": 3} {
		if got, err := ParseLevels(s); len(got) != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"3", "1:", "a", "1:1:1:1", "12"} {
		if _, err := ParseLevels(s); err == nil {
			t.Errorf("%q is allowed", s)
		}
	}
}
