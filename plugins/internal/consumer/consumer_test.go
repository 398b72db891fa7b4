package consumer

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestHideArg(t *testing.T) {
	for _, x := range []struct{ target, upstream, name, query, want string }{
		{"/a?k=1", "", "k", "", "/a"},
		{"/a?x=1&k=1&y=2&k", "", "k", "x=1&y=2", "/a?x=1&y=2"},
		{"/a?x=%31&%6b=1", "", "k", "x=%31", "/a?x=%31"},
		{"/a?a+b=1&z=%zz", "", "a b", "z=%zz", "/a?z=%zz"},
		{"/a?x=1", "", "k", "x=1", ""},
		{"/a", "", "k", "", ""},
		{"/a?k=1&x=2", "/rewritten?q=1&k=1&x=2", "k", "x=2", "/rewritten?q=1&x=2"},
	} {
		c := plugintest.Request("GET", x.target)
		c.UpstreamURI = x.upstream
		HideArg(c, x.name)
		if c.Query != x.query || c.UpstreamURI != x.want {
			t.Errorf("%s without %s: %q, %q; want %q, %q", x.target, x.name, c.Query, c.UpstreamURI, x.query, x.want)
		}
	}
}

func TestFail(t *testing.T) {
	found := plugintest.Consumers{"": plugintest.Consumer("guest", "", nil)}
	a := Auth{Plugin: "p", Challenge: Challenge("Basic", "r"), Anonymous: "guest"}
	c := found.Request("GET", "/", "x_credential_identifier: forged")
	if r := a.Fail(c, "no"); r != nil || c.Consumer.Def.Username != "guest" || c.Req.Header.Len() != 1 {
		t.Errorf("%+v, header of %d fields", r, c.Req.Header.Len())
	}
	a.Anonymous = ""
	c = found.Request("GET", "/")
	if r := a.Fail(c, "no"); r == nil || r.Status != 401 || c.RespHeader.Get("WWW-Authenticate") != `Basic realm="r"` {
		t.Errorf("%+v", r)
	}
}
