package wolfrbac

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wolf is a server that answers by path, and notes what it was asked.
func wolf(t testing.TB, answers map[string]string) (address string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		*asked = append(*asked, q.Method+" "+q.URL.Path+" "+q.Header.Get("X-Rbac-Token")+" "+string(body))
		key := q.URL.Path
		if res := q.URL.Query().Get("resName"); res != "" {
			key = res
		}
		status, text, _ := strings.Cut(answers[key], " ")
		switch status {
		case "403":
			w.WriteHeader(403)
		case "500":
			w.WriteHeader(500)
		}
		io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func consumers(server string) plugintest.Consumers {
	c := plugintest.Consumer("jack", "", nil)
	c.Conf = &config{AppID: "app", Server: server, HeaderPrefix: "X-"}
	return plugintest.Consumers{"app": c}
}

func TestRewrite(t *testing.T) {
	server, asked := wolf(t, map[string]string{
		"/ok":     `200 {"ok":true,"data":{"userInfo":{"id":9007199254740993,"username":"admin","nickname":"the admin"}}}`,
		"/silent": `200 {"ok":true,"data":[]}`,
		"/not-ok": `200 {"ok":false,"reason":"ERR_TOKEN_INVALID"}`,
		"/broken": `200 {"ok":`,
		"/null":   `200 null`,
		"/denied": `403 {"ok":false,"reason":"ERR_ACCESS_DENIED","data":{"userInfo":{"username":"admin"}}}`,
		"/fails":  `500 {}`,
	})
	list := consumers(server)
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{}`)
	const good = "Authorization: V1#app#t"
	for _, x := range []struct {
		name, target, field string
		status              int
		message             string
		asked               int
	}{
		{"none", "/ok", "X: y", 401, "Missing rbac token in request", 0},
		{"no token", "/ok", "Authorization: Basic x", 401, "invalid rbac token: parse failed", 0},
		{"other version", "/ok", "Authorization: V2#app#t", 401, "invalid rbac token: parse failed", 0},
		{"unknown", "/ok", "Authorization: V1#other#t", 401, "Invalid appid in rbac token", 0},
		{"header", "/ok", good, 0, "", 1},
		{"own header", "/ok", "X-Rbac-Token: V1#app#t#u", 0, "", 1},
		{"cookie", "/ok", "Cookie: x-rbac-token=V1#app#t", 0, "", 1},
		{"argument", "/ok?rbac_token=V1%23app%23t", "X: y", 0, "", 1},
		{"silent", "/silent", good, 0, "", 1},
		{"not ok", "/not-ok", good, 401, "ERR_TOKEN_INVALID", 1},
		{"broken", "/broken", good, 500, "check permission failed! parse response json failed!", 1},
		{"null", "/null", good, 500, "check permission failed! parse response json failed!", 1},
		{"denied", "/denied", good, 403, "ERR_ACCESS_DENIED", 1},
		{"fails", "/fails", good, 500, "request to wolf-server failed, status:500", 3},
	} {
		t.Run(x.name, func(t *testing.T) {
			*asked = nil
			c := list.Request("GET", x.target, x.field, "X-UserId: root", "X_Username: root", "X-Nickname: root")
			r, err := p.Rewrite(c)
			if err != nil || (r == nil) != (x.status == 0) || len(*asked) != x.asked {
				t.Fatalf("%v, %v, asked %q", r, err, *asked)
			}
			if r != nil {
				if body := r.Body.(refusal); r.Status != x.status || body.Message != x.message {
					t.Errorf("%d %+v", r.Status, body)
				}
				// Within multi-auth another plugin may let the request in, as somebody else.
				if got := c.Req.Header.Get("X-Username"); x.asked > 0 && got != "" {
					t.Errorf("the upstream would hear of %q", got)
				}
				return
			}
			h := &c.Req.Header
			user, who := h.Get("X-UserId"), h.Get("X-Nickname")
			if x.target == "/silent" && (user != "" || who != "") || x.target != "/silent" && (user != "9007199254740993" || who != "the%20admin") ||
				h.Has("X_Username") || h.Get("X-Consumer-Username") != "jack" {
				t.Errorf("upstream: %q %q", user, who)
			}
		})
	}
	c := plugintest.Request("GET", "/ok", good)
	if r, _ := p.Rewrite(c); r == nil || r.Body.(refusal).Message != "Missing related consumer" {
		t.Errorf("without consumers: %v", r)
	}
	c = consumers("http://127.0.0.1:1").Request("GET", "/ok", good)
	if r, _ := p.Rewrite(c); r == nil || r.Body.(refusal).Message != "request to wolf-server failed, err:connection refused" {
		t.Errorf("without a server: %v", r)
	}
}

func TestAPIs(t *testing.T) {
	server, asked := wolf(t, map[string]string{
		"/wolf/rbac/login.rest": `200 {"ok":true,"data":{"token":"t","userInfo":{"id":"1"}}}`,
		"/wolf/rbac/change_pwd": `200 {"ok":false,"reason":"ERR_OLD_PASSWORD_INCORRECT"}`,
		"/wolf/rbac/user_info":  `200 {"ok":true,"data":{"userInfo":{"id":"1"}}}`,
	})
	env := plugintest.Env()
	list, err := Plugin.NewAPIs(env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Shared.Close)
	call := func(path, body string, fields ...string) *plugins.Reply {
		t.Helper()
		for _, a := range list {
			if !strings.HasSuffix(a.Path, path) {
				continue
			}
			c := consumers(server).Request(a.Methods[0], a.Path, fields...)
			c.Req.Body, c.Req.ContentLength = strings.NewReader(body), int64(len(body))
			r, err := a.Serve(c)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		t.Fatal(path)
		return nil
	}
	const json, token = "Content-Type: application/json", "Authorization: V1#app#t"
	if r := call("login", `{"username":"a"}`, json); r.Status != 400 || r.Body.(refusal).Message != "appid is missing" {
		t.Errorf("%+v", r)
	}
	if r := call("login", `nothing`, json); r.Status != 400 || r.Body.(refusal).Message != "invalid request" {
		t.Errorf("%+v", r)
	}
	if r := call("login", `appid=other`); r.Status != 400 || r.Body.(refusal).Message != "appid not found" {
		t.Errorf("%+v", r)
	}
	if r := call("login", `appid=app&username=a&password=b`); r.Status != 200 || r.Body.(granted).RBACToken != "V1#app#t" {
		t.Errorf("%+v", r)
	}
	if r := call("change_pwd", `{"oldPassword":"x"}`, json, token); r.Status != 200 || r.Body.(refusal).Message != "request to wolf-server failed!" {
		t.Errorf("%+v", r)
	}
	if r := call("user_info", ""); r.Status != 401 {
		t.Errorf("%+v", r)
	}
	if r := call("user_info", "", token); r.Status != 200 || string(r.Body.(granted).UserInfo) != `{"id":"1"}` {
		t.Errorf("%+v", r)
	}
	want := []string{`POST /wolf/rbac/login.rest  {"appid":"app","password":"b","username":"a"}`,
		`POST /wolf/rbac/change_pwd t {"oldPassword":"x"}`, `GET /wolf/rbac/user_info t {}`}
	if strings.Join(*asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("the server was asked %q", *asked)
	}
}

func BenchmarkRewrite(b *testing.B) {
	server, _ := wolf(b, map[string]string{"/ok": `200 {"ok":true,"data":{"userInfo":{"id":1}}}`})
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{}`)
	list := consumers(server)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Rewrite(list.Request("GET", "/ok", "Authorization: V1#app#t")); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
