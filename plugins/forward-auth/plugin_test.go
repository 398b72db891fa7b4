package forwardauth

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service answers as the header field Authorization of a call says, and keeps
// what it got.
type service struct {
	*httptest.Server
	got  http.Header
	host string
	body string
}

func newService(t testing.TB) *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.got, s.host, s.body = r.Header.Clone(), r.Host, string(body)
		s.got["Method"] = []string{r.Method}
		s.got["Framing"] = []string{fmt.Sprint(r.ContentLength, r.TransferEncoding)}
		switch r.Header.Get("Authorization") {
		case "user":
			w.Header().Add("X-User-ID", "jack")
			w.Header().Add("X-Role", "a")
			w.Header().Add("X-Role", "b")
		case "login":
			w.Header().Add("Location", "http://login")
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.WriteHeader(302)
			io.WriteString(w, "please log in")
		case "long":
			w.WriteHeader(403)
			io.WriteString(w, strings.Repeat("x", maxAnswer+1))
		case "crash":
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// conf is a configuration with the address of s and these members.
func (s *service) conf(t testing.TB, members string) string {
	t.Helper()
	conf := map[string]any{"uri": s.URL + "/auth?x=1"}
	if err := json.Unmarshal([]byte("{"+members+"}"), &conf); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func fields(h *plugins.Ctx) []string {
	var list []string
	for name, value := range h.Req.Header.All() {
		if name != "Authorization" {
			list = append(list, name+": "+value)
		}
	}
	return list
}

// TestIdentity: what upstream_headers names comes from the service or not at all.
func TestIdentity(t *testing.T) {
	s := newService(t)
	forged := []string{"X-User-ID: root", "x-user-id: root", "X_User_ID: root", "X-User_Id: root", "X-Role: root", "Accept: */*"}
	for _, x := range []struct {
		name, authorization string
		degradation         bool
		want                []string
	}{
		{"named", "user", false, []string{"Accept: */*", "X-User-ID: jack", "X-Role: a", "X-Role: b"}},
		{"not named", "ok", false, []string{"Accept: */*"}},
		{"degraded", "crash", true, []string{"Accept: */*"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), s.conf(t,
				fmt.Sprintf(`"request_headers":["Authorization"],"upstream_headers":["X-User-ID","X-Role","Content-Length"],"allow_degradation":%v`, x.degradation)))
			c := plugintest.Request("GET", "/hello", append([]string{"Authorization: " + x.authorization}, forged...)...)
			if r, err := p.Access(c); r != nil || err != nil {
				t.Fatal(r, err)
			}
			if got := fields(c); !slices.Equal(got, x.want) {
				t.Errorf("header %q, want %q", got, x.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	s := newService(t)
	for _, x := range []struct {
		name, authorization, members string
		status                       int
		body                         string
		header                       []string
	}{
		{"redirect", "login", `"client_headers":["Location","Set-Cookie","Content-Length"]`, 302, "please log in",
			[]string{"Location: http://login", "Set-Cookie: a=1", "Set-Cookie: b=2"}},
		{"no client headers", "login", `"keepalive":false`, 302, "please log in", nil},
		{"long answer", "long", `"keepalive":false`, 403, "", nil},
		{"long answer is no failure", "long", `"allow_degradation":true`, 403, "", nil},
		{"crash", "crash", `"keepalive":false`, 403, "", nil},
		{"crash with status", "crash", `"status_on_error":503`, 503, "", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), s.conf(t, `"request_headers":["Authorization"],`+x.members))
			r, err := p.Access(plugintest.Request("GET", "/hello", "Authorization: "+x.authorization))
			if err != nil || r == nil {
				t.Fatal(r, err)
			}
			body := ""
			switch b := r.Body.(type) {
			case []byte:
				body = string(b)
			case string:
				body = b
			}
			var header []string
			for name, value := range r.Header.All() {
				header = append(header, name+": "+value)
			}
			if r.Status != x.status || body != x.body || !slices.Equal(header, x.header) {
				t.Errorf("%d %q %q", r.Status, header, body)
			}
		})
	}
}

func TestWhatTheServiceSees(t *testing.T) {
	s := newService(t)
	got := func(name string) string { return strings.Join(s.got[http.CanonicalHeaderKey(name)], "|") }
	ask := func(t *testing.T, members, method, body string, fields ...string) (*plugins.Ctx, *plugins.Reply) {
		t.Helper()
		p := plugintest.Build(t, &Plugin, plugintest.Env(), s.conf(t, members))
		c := plugintest.Request(method, "/hello?a=1", fields...)
		c.Req.Body, c.Req.ContentLength = strings.NewReader(body), int64(len(body))
		s.got = nil
		r, err := p.Access(c)
		if err != nil {
			t.Fatal(err)
		}
		return c, r
	}
	t.Run("GET", func(t *testing.T) {
		ask(t, `"request_headers":["Authorization","x-forwarded-for","Content-Length","Transfer-Encoding","Connection","Host","X-Multi"]`, "POST", "body",
			"Authorization: x", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "Content-Length: 4", "X-Multi: 1", "X-Multi: 2", "Cookie: secret")
		for name, want := range map[string]string{
			"X-Forwarded-Proto": "http", "X-Forwarded-Method": "POST", "X-Forwarded-Host": "example.com",
			"X-Forwarded-Uri": "/hello?a=1", "X-Forwarded-For": "127.0.0.1", "Authorization": "x", "X-Multi": "1|2",
			"Cookie": "", "Content-Length": "", "Method": "GET", "Framing": "0 []", "User-Agent": "", "Connection": "",
		} {
			if got(name) != want {
				t.Errorf("%s: %q, want %q", name, got(name), want)
			}
		}
		if s.host != "example.com" || s.body != "" {
			t.Errorf("host %q, body %q", s.host, s.body)
		}
	})
	t.Run("POST", func(t *testing.T) {
		c, _ := ask(t, `"request_method":"POST"`, "PUT", "body", "Content-Encoding: x", "Transfer-Encoding: chunked", "Expect: 100-continue")
		if s.body != "body" || got("Framing") != "4 []" || got("Content-Encoding") != "x" || got("Expect") != "" || got("X-Forwarded-Method") != "PUT" {
			t.Errorf("%v with %q", s.got, s.body)
		}
		if body, ok := c.BufferedBody(); !ok || string(body) != "body" {
			t.Error("the upstream does not get the body")
		}
	})
	t.Run("POST without a body", func(t *testing.T) {
		ask(t, `"request_method":"POST"`, "GET", "")
		if got("Framing") != "0 []" || got("Content-Length") != "0" {
			t.Errorf("%v", s.got)
		}
	})
	t.Run("extra headers", func(t *testing.T) {
		ask(t, `"extra_headers":{"X-A":"$arg_a-$request_method","x-forwarded-for":"$http_x","X-Fixed":"abcd","Content-Length":"9"},"request_headers":["X-Fixed"]`,
			"GET", "", "X: 1.2.3.4", "X-Fixed: client")
		if got("X-A") != "1-GET" || got("X-Forwarded-For") != "1.2.3.4" || got("X-Fixed") != "abcd" {
			t.Errorf("%v", s.got)
		}
	})
	t.Run("line breaks", func(t *testing.T) {
		for _, degradation := range []string{"false", "true"} {
			p := plugintest.Build(t, &Plugin, plugintest.Env(), s.conf(t, `"extra_headers":{"X-User":"$arg_user"},"allow_degradation":`+degradation))
			s.got = nil
			r, err := p.Access(plugintest.Request("GET", "/?user=guest%0d%0ax-user1:%20admin"))
			if err != nil || r == nil || r.Status != 403 || s.got != nil {
				t.Errorf("%+v, %v, called with %v", r, err, s.got)
			}
		}
	})
	t.Run("long body", func(t *testing.T) {
		_, r := ask(t, `"request_method":"POST","max_req_body_size":3,"allow_degradation":true`, "POST", "body")
		if r == nil || r.Status != 413 || s.got != nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestUnreachable(t *testing.T) {
	s := newService(t)
	s.Close()
	for members, want := range map[string]int{`"keepalive":true`: 403, `"status_on_error":503`: 503, `"allow_degradation":true`: 0} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), s.conf(t, members))
		r, err := p.Access(plugintest.Request("GET", "/"))
		if err != nil || (r == nil) != (want == 0) || r != nil && (r.Status != want || r.Body != nil) {
			t.Errorf("%s: %+v, %v", members, r, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	plugintest.Refuse(t, &Plugin, map[string]string{
		`{"request_headers":["test"]}`: `property "uri" is required`,
		`{"uri":3233}`:                 `property "uri" validation failed: wrong type: expected string, got number`,
		`{"uri":"http://127.0.0.1:8199","request_headers":"test"}`: `property "request_headers" validation failed: wrong type: expected array, got string`,
		`{"uri":"http://127.0.0.1:8199","request_method":"PUT"}`:   `property "request_method" validation failed: matches none of the enum values`,
		`{"uri":"127.0.0.1:8199"}`:                                 `uri "127.0.0.1:8199" is no http or https address`,
		`{"uri":"http://a","timeout":60001}`:                       "expected 60001 to be at most 60000",
		`{"uri":"http://a","extra_headers":{}}`:                    "expect object to have at least 1 properties",
	})
}

func BenchmarkAccess(b *testing.B) {
	s := newService(b)
	p := plugintest.Build(b, &Plugin, plugintest.Env(), s.conf(b, `"request_headers":["Authorization"],"upstream_headers":["X-User-ID"]`))
	b.ReportAllocs()
	for b.Loop() {
		c := plugintest.Request("GET", "/hello", "Authorization: user")
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
