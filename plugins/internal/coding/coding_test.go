package coding

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestAccepted(t *testing.T) {
	for field, want := range map[string][2]bool{ // for gzip, with "*"
		"gzip": {true, true}, "": {}, "br": {}, "br, GZIP;q=0.5": {true, true}, "gzip;q=0": {}, "gzip; q=0.000": {}, "gzip;q=1": {true, true},
		"*": {false, true}, "*;q=0": {}, "gzip;q=0, *": {false, true}, "xgzip": {}, "identity,gzip ; q=0.001": {true, true}, ",,": {},
	} {
		if got := [2]bool{Accepted(field, "gzip", false), Accepted(field, "gzip", true)}; got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
}

func TestFits(t *testing.T) {
	for _, x := range []struct {
		name    string
		o       Options
		length  int64
		minor   int
		kind    string
		fitting bool
	}{
		{"type", Options{Types: Types{"text/html"}, MinLength: 20, HTTPVersion: 1.1}, 20, 1, "text/html; charset=utf-8", true},
		{"other type", Options{Types: Types{"text/html"}, HTTPVersion: 1.1}, 20, 1, "text/plain", false},
		{"all types", Options{HTTPVersion: 1.1}, 20, 1, "text/plain", true},
		{"no type", Options{HTTPVersion: 1.1}, 20, 1, "", false},
		{"too short", Options{MinLength: 21, HTTPVersion: 1.1}, 20, 1, "a/b", false},
		{"unknown length", Options{MinLength: 21, HTTPVersion: 1.1}, -1, 1, "a/b", true},
		{"old client", Options{HTTPVersion: 1.1}, 20, 0, "a/b", false},
		{"old client is good enough", Options{HTTPVersion: 1}, 20, 0, "a/b", true},
	} {
		c := plugintest.Request("GET", "/")
		c.Req.Minor = x.minor
		plugintest.Respond(c, 200, "Content-Type: "+x.kind).ContentLength = x.length
		if got := x.o.Fits(c); got != x.fitting {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

func TestAnnounce(t *testing.T) {
	for tag, want := range map[string]string{`"x"`: `W/"x"`, `W/"x"`: `W/"x"`, `x`: ``, `"a"b"`: ``, `W/"a"b"`: ``, `"`: ``, `W/`: ``, `""`: `W/""`} {
		c := plugintest.Request("GET", "/")
		plugintest.Respond(c, 200, "ETag: "+tag, "Content-Length: 5", "Accept-Ranges: bytes").ContentLength = 5
		Announce(c, "br")
		h := &c.Resp.Header
		if h.Get("ETag") != want || h.Get("Content-Encoding") != "br" || h.Has("Content-Length") || h.Has("Accept-Ranges") || c.Resp.ContentLength != -1 {
			t.Errorf("%s: %v", tag, c.Resp)
		}
	}
}

func TestTypes(t *testing.T) {
	var v Types
	if err := v.UnmarshalJSON([]byte(`["a","b"]`)); err != nil || len(v) != 2 {
		t.Error(v, err)
	}
	if err := v.UnmarshalJSON([]byte(`"*"`)); err != nil || v != nil {
		t.Error(v, err)
	}
}
