package errorpage

import (
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	want := "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n" +
		"<hr><center>openresty</center>\r\n<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p></body>\r\n</html>\r\n"
	if got := string(Page(403)); got != want {
		t.Errorf("page of 403:\n%q, want\n%q", got, want)
	}
	for status, words := range map[int]string{302: "302 Found", 413: "413 Request Entity Too Large",
		503: "503 Service Temporarily Unavailable", 504: "504 Gateway Time-out",
		NoCert: "<center><h1>400 Bad Request</h1></center>\r\n<center>No required SSL certificate was sent</center>\r\n"} {
		if !strings.Contains(string(Page(status)), words) {
			t.Errorf("page of %d lacks %q", status, words)
		}
	}
	for _, status := range []int{-1, 0, 200, 204, 299, 300, 304, 407, 417, 418, 428, 506, 599, 600, 1000} {
		if Page(status) != nil {
			t.Errorf("%d has a page", status)
		}
	}
	if Status(NoCert) != 400 || Status(404) != 404 {
		t.Error("Status")
	}
	if n := testing.AllocsPerRun(100, func() { Page(404) }); n != 0 {
		t.Errorf("Page: %v allocations", n)
	}
}

func TestTypes(t *testing.T) {
	types := NewTypes("utf-8")
	for path, want := range map[string]string{
		"/": "text/plain; charset=utf-8", "/a": "text/plain; charset=utf-8", "/a.html": "text/html; charset=utf-8",
		"/a.HTML": "text/html; charset=utf-8", "/a.json": "application/json", "/a.js": "application/javascript; charset=utf-8",
		"/x.json/a": "text/plain; charset=utf-8", "/.html": "text/plain; charset=utf-8", "/.a.html": "text/html; charset=utf-8",
		"/a.unknown": "text/plain; charset=utf-8", "/a.": "text/plain; charset=utf-8", "/a.b.css": "text/css",
		"/a.jardiff": "application/x-java-archive-diff", "/a.averylongone": "text/plain; charset=utf-8", "": "text/plain; charset=utf-8",
	} {
		if got := types.Of(path); got != want {
			t.Errorf("Of(%q) = %q, want %q", path, got, want)
		}
	}
	for charset, want := range map[string]string{"": "text/html", "off": "text/html", "gbk": "text/html; charset=gbk"} {
		if got := NewTypes(charset).Page(); got != want {
			t.Errorf("charset %q: %q", charset, got)
		}
	}
	for typ, exts := range mimeTypes {
		for ext := range strings.FieldsSeq(exts) {
			if len(ext)+1 > maxExt {
				t.Errorf("%s: extension %s is too long for Of", typ, ext)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { types.Of("/a/b.JSON") }); n != 0 {
		t.Errorf("Of: %v allocations", n)
	}
}
