package consumer

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"sync"
	"testing"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func lines(c *plugins.Ctx) string {
	var list []string
	for name, value := range c.Req.Header.All() {
		list = append(list, name+": "+value)
	}
	return strings.Join(list, "\n")
}

// TestAttach: who calls is the gateway's word alone, in every spelling.
func TestAttach(t *testing.T) {
	forged := []string{"X-Consumer-Username: root", "x-consumer-username: root", "X_Consumer_Username: root", "X-CONSUMER_USERNAME: root",
		"X-Credential-Identifier: root", "x_credential_identifier: root", "X-Consumer-Custom-ID: root", "X_Consumer_Custom_Id: root", "Accept: */*"}
	for _, x := range []struct {
		found *plugins.Consumer
		want  string
	}{
		{plugintest.Consumer("jack", "", nil), "Accept: */*\nX-Consumer-Username: jack"},
		{plugintest.Consumer("jack", "c1", map[string]string{"custom_id": "42"}),
			"Accept: */*\nX-Consumer-Username: jack\nX-Credential-Identifier: c1\nX-Consumer-Custom-ID: 42"},
	} {
		c := plugintest.Request("GET", "/", forged...)
		Attach(c, x.found)
		if got := lines(c); got != x.want || c.Consumer != x.found {
			t.Errorf("got\n%s\nwant\n%s", got, x.want)
		}
	}
}

func TestReplace(t *testing.T) {
	c := plugintest.Request("GET", "/", "x-a: 1", "X_A: 2", "X-B: 3", "X-A: 4")
	Replace(&c.Req.Header, "X-A", "ours")
	if got := lines(c); got != "X-B: 3\nX-A: ours" {
		t.Error(got)
	}
	Drop(&c.Req.Header, "X-A")
	if got := lines(c); got != "X-B: 3" {
		t.Error(got)
	}
}

func TestHideCookie(t *testing.T) {
	for _, x := range []struct{ cookies, want string }{
		{"a=b; jwt=x; c=d", "Cookie: a=b; c=d"},
		{"jwt=x", ""},
		{"jwt=x|a=b", "Cookie: a=b"},
		{"a=b;jwt=x;jwt=y", "Cookie: a=b"},
		{"a=b; JWT=x", "Cookie: a=b; JWT=x"},
		{"jwt", ""},
		{"a=jwt", "Cookie: a=jwt"},
		{"a=b jwt=x", "Cookie: a=b"}, // a value ends at white space for those who read it
		{"a=b\tjwt=x c=d;e=f g", "Cookie: a=b c=d; e=f g"},
		{"a=hello  world|jwt=x", "Cookie: a=hello  world"},
	} {
		c := plugintest.Request("GET", "/")
		for value := range strings.SplitSeq(x.cookies, "|") {
			c.Req.Header.Add("Cookie", value)
		}
		HideCookie(c, "jwt")
		if got := lines(c); got != x.want {
			t.Errorf("%q: %q, want %q", x.cookies, got, x.want)
		}
	}
}

// FuzzHide: what plugins could read as the credential is not there any more.
func FuzzHide(f *testing.F) {
	f.Add("a=b; jwt=x jwt=y")
	f.Add("jwt=1&%6awt=2")
	f.Fuzz(func(t *testing.T, s string) {
		c := plugintest.Request("GET", "/?"+s)
		c.Req.Header.Add("Cookie", s)
		HideCookie(c, "jwt")
		HideArg(c, "jwt")
		if v, ok := c.Cookie("jwt"); ok {
			t.Errorf("%q still has the cookie %q", s, v)
		}
		if v, ok := c.Arg("jwt"); ok {
			t.Errorf("%q still has the argument %q", s, v)
		}
	})
}

func TestHideArg(t *testing.T) {
	for _, x := range []struct{ target, want string }{
		{"/a?x=1", ""},
		{"/a?jwt=1", "/a"},
		{"/a?x=1&jwt=1&%6awt=2&y=%20", "/a?x=1&y=%20"},
		{"/a?jwt", "/a"},
	} {
		c := plugintest.Request("GET", x.target)
		HideArg(c, "jwt")
		if c.UpstreamURI != x.want || strings.Contains(c.Query, "jwt") {
			t.Errorf("%s: %q with %q", x.target, c.UpstreamURI, c.Query)
		}
	}
}

func TestSecret(t *testing.T) {
	s := NewSecret("canary")
	for text, want := range map[string]bool{"canary": true, "canarx": false, "canar": false, "canary ": false, "": false} {
		if s.Is(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestDecodeBase64(t *testing.T) {
	for text, want := range map[string]string{"Zm9vOmJhcg==": "foo:bar", "Zm9vOmJhcg": "foo:bar", "YmFyOmJhcgo=": "bar:bar\n", "Zm9v=junk": "foo", "": ""} {
		if got, ok := DecodeBase64(text); !ok || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{"aca_a", "a", "Zm9v!", "Zm 9v"} {
		if got, ok := DecodeBase64(text); ok {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMAC(t *testing.T) {
	m := NewMAC(sha256.New, []byte("key"))
	h := hmac.New(sha256.New, []byte("key"))
	h.Write([]byte("message"))
	sum := h.Sum(nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if !m.Verify("message", sum) || m.Verify("massage", sum) || m.Verify("message", sum[:31]) || m.Verify("message", nil) {
					t.Error("wrong verdict")
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkMAC(b *testing.B) {
	m := NewMAC(sha256.New, []byte("key"))
	sum := make([]byte, sha256.Size)
	message := strings.Repeat("x", 150)
	b.ReportAllocs()
	for b.Loop() {
		m.Verify(message, sum)
	}
}
