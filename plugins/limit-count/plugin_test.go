package limitcount

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

// request is one request and what becomes of it.
type request struct {
	fields []string // header of the request
	status int      // 0: let through
	header string   // of the response, "Name: value" joined by "; "
}

func header(c *plugins.Ctx) string {
	var l []string
	for name, value := range c.RespHeader.All() {
		l = append(l, name+": "+value)
	}
	return strings.Join(l, "; ")
}

// standing is where the clock of still stands.
var standing = time.Unix(6000, 0)

// still is an Env whose clock stands.
func still() *plugins.Env {
	env := plugintest.Env()
	env.Now = func() time.Time { return standing }
	return env
}

// arriving is a request that arrives when the clock of still stands there.
func arriving(fields ...string) *plugins.Ctx {
	c := plugintest.Request("GET", "/", fields...)
	c.Start = standing
	return c
}

func TestAccess(t *testing.T) {
	quota := func(limit, left, reset string) string {
		return "X-RateLimit-Limit: " + limit + "; X-RateLimit-Remaining: " + left + "; X-RateLimit-Reset: " + reset
	}
	for _, x := range []struct {
		name, conf, metadata string
		requests             []request
	}{
		{"fixed", `{"count":2,"time_window":60}`, "", []request{
			{nil, 0, quota("2", "1", "60")}, {nil, 0, quota("2", "0", "60")}, {nil, 503, quota("2", "0", "60")}}},
		{"sliding", `{"count":2,"time_window":60,"window_type":"sliding"}`, "", []request{
			{nil, 0, quota("2", "1", "60")}, {nil, 0, quota("2", "0", "60")}, {nil, 503, quota("2", "0", "60")}}},
		{"code, no header", `{"count":1,"time_window":60,"rejected_code":429,"show_limit_quota_header":false}`, "",
			[]request{{nil, 0, ""}, {nil, 429, ""}}},
		{"by variable", `{"count":1,"time_window":60,"key":"http_user"}`, "", []request{
			{[]string{"user: a"}, 0, quota("1", "0", "60")}, {[]string{"user: b"}, 0, quota("1", "0", "60")},
			{[]string{"user: a"}, 503, quota("1", "0", "60")}}},
		{"variable without value", `{"count":1,"time_window":60,"key":"http_user"}`, "", []request{
			{nil, 0, quota("1", "0", "60")}, {nil, 503, quota("1", "0", "60")}}},
		{"by combination", `{"count":1,"time_window":60,"key":"$remote_addr $http_user","key_type":"var_combination"}`, "",
			[]request{{[]string{"user: a"}, 0, quota("1", "0", "60")}, {[]string{"user: b"}, 0, quota("1", "0", "60")},
				{[]string{"user: a"}, 503, quota("1", "0", "60")}}},
		{"combination without value", `{"count":1,"time_window":60,"key":"$http_a $http_b","key_type":"var_combination"}`, "",
			[]request{{nil, 0, quota("1", "0", "60")}, {nil, 503, quota("1", "0", "60")}}},
		{"constant", `{"count":1,"time_window":60,"key":"remote_addr","key_type":"constant"}`, "", []request{
			{nil, 0, quota("1", "0", "60")}, {nil, 503, quota("1", "0", "60")}}},
		{"variable count", `{"count":"${http_count ?? 2}","time_window":"$http_window"}`, "", []request{
			{[]string{"count: 5", "window: 10"}, 0, quota("5", "4", "10")},
			{[]string{"window: 10"}, 0, quota("2", "0", "10")},
			{[]string{"count: 0", "window: 10"}, 500, ""}, {[]string{"count: x", "window: 10"}, 500, ""},
			{[]string{"count: 1.5", "window: 10"}, 500, ""}, {[]string{"count: 1e30", "window: 10"}, 500, ""},
			{nil, 500, ""}}},
		{"degradation", `{"count":"$http_count","time_window":60,"allow_degradation":true}`, "", []request{{nil, 0, ""}}},
		{"metadata", `{"count":1,"time_window":60}`, `{"limit_header":"L","remaining_header":"R"}`, []request{
			{nil, 0, "L: 1; R: 0; X-RateLimit-Reset: 60"}}},
		{"rules", `{"rules":[{"count":1,"time_window":60,"key":"${http_user}","header_prefix":"User"},
			{"count":"$http_quota","time_window":10,"key":"${http_project}"}]}`, "", []request{
			{nil, 500, ""},
			{[]string{"user: a"}, 0, "X-User-RateLimit-Limit: 1; X-User-RateLimit-Remaining: 0; X-User-RateLimit-Reset: 60"},
			{[]string{"user: a"}, 503, "X-User-RateLimit-Limit: 1; X-User-RateLimit-Remaining: 0; X-User-RateLimit-Reset: 60"},
			{[]string{"project: p", "quota: 3"}, 0, "X-2-RateLimit-Limit: 3; X-2-RateLimit-Remaining: 2; X-2-RateLimit-Reset: 10"},
			{[]string{"project: p"}, 500, ""}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			env := still()
			if x.metadata != "" {
				env.Metadata = json.RawMessage(x.metadata)
			}
			p := plugintest.Build(t, &Plugin, env, x.conf)
			for i, q := range x.requests {
				c := arriving(q.fields...)
				r, err := p.Access(c)
				if err != nil {
					t.Fatal(err)
				}
				status := 0
				if r != nil {
					status = r.Status
				}
				if status != q.status || header(c) != q.header {
					t.Errorf("request %d: %d, %s; want %d, %s", i, status, header(c), q.status, q.header)
				}
			}
		})
	}
}

func TestRejectedMessage(t *testing.T) {
	p := plugintest.Build(t, &Plugin, still(), `{"count":1,"time_window":60,"rejected_msg":"too many"}`)
	var r *plugins.Reply
	for range 2 {
		r, _ = p.Access(arriving())
	}
	if r == nil || r.Body != (plugins.ErrorMsg{ErrorMsg: "too many"}) {
		t.Errorf("reply %+v", r)
	}
	p = plugintest.Build(t, &Plugin, still(), `{"count":1,"time_window":60}`)
	for range 2 {
		r, _ = p.Access(arriving())
	}
	if r == nil || r.Body != nil {
		t.Errorf("reply %+v without a message", r)
	}
}

func TestInfo(t *testing.T) {
	p := plugintest.Build(t, &Plugin, still(), `{"count":2,"time_window":10,"key":"http_q"}`)
	c := arriving(`q: a"b`)
	if _, err := p.Access(c); err != nil {
		t.Fatal(err)
	}
	var info struct {
		Key       string `json:"rate_limiting_key"`
		Limit     int    `json:"rate_limiting_limit"`
		Remaining int    `json:"rate_limiting_remaining"`
		Reset     int    `json:"rate_limiting_reset"`
	}
	if err := json.Unmarshal([]byte(c.Var("rate_limiting_info")), &info); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.Key, "/apisix/routes/1:") || !strings.HasSuffix(info.Key, `:a"b`) ||
		info.Limit != 2 || info.Remaining != 1 || info.Reset != 10 {
		t.Errorf("%+v", info)
	}
}

func TestCountersOutliveInstances(t *testing.T) {
	env := still()
	first, err := plugintest.Try(&Plugin, env, `{"count":1,"time_window":60}`)
	if err != nil {
		t.Fatal(err)
	}
	first.Access(arriving())
	second := plugintest.Build(t, &Plugin, env, `{"count":1,"time_window":60}`)
	first.Close()
	if r, _ := second.Access(arriving()); r == nil {
		t.Error("the next version began anew")
	}
	changed := *env
	changed.Key += "x"
	third := plugintest.Build(t, &Plugin, &changed, `{"count":1,"time_window":60}`)
	if r, _ := third.Access(arriving()); r != nil {
		t.Error("another configuration went on with the old count")
	}
}

func TestGroup(t *testing.T) {
	env := still()
	const conf = `{"count":1,"time_window":60,"group":"g"}`
	a := plugintest.Build(t, &Plugin, env, conf)
	other := *env
	other.Key, other.Owner = "routes/2/x", "routes/2"
	b := plugintest.Build(t, &Plugin, &other, conf)
	if r, _ := a.Access(arriving()); r != nil {
		t.Error("first request was rejected")
	}
	if r, _ := b.Access(arriving()); r == nil {
		t.Error("the group does not share its counter")
	}
	if _, err := plugintest.Try(&Plugin, env, `{"count":2,"time_window":60,"group":"g"}`); err == nil ||
		err.Error() != "group conf mismatched" {
		t.Errorf("another configuration in the group: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	for conf, want := range map[string]string{
		`{"count":1}`:                                    "value should match only one schema, but matches none",
		`{"count":0,"time_window":60}`:                   `property "count" validation failed: value should match only one schema, but matches none`,
		`{"count":1,"time_window":60,"rejected_msg":""}`: "string too short, expected at least 1, got 0",
		`{"rules":[{"count":1,"time_window":1,"key":"a"},{"count":2,"time_window":2,"key":"a"}]}`:     "duplicate key 'a' in rules",
		`{"rules":[{"count":1,"time_window":1,"key":"a"}],"group":"g"}`:                               "group and rules cannot be specified at the same time",
		`{"count":1,"time_window":60,"policy":"redis"}`:                                               "then clause did not match",
		`{"count":1,"time_window":60,"policy":"redis-cluster"}`:                                       "else clause did not match",
		`{"count":1,"time_window":60,"policy":"redis","redis_host":"127.0.0.1","sync_interval":0.01}`: "sync_interval should not be smaller than 0.1",
		`{"count":1,"time_window":60,"policy":"redis","redis_host":"127.0.0.1","sync_interval":60}`:   "sync_interval should be smaller than time_window",
	} {
		_, err := plugintest.Try(&Plugin, plugintest.Env(), conf)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	env := plugintest.Env()
	for _, conf := range []string{
		`{"count":1,"time_window":60,"group":"g"}`,
		`{"count":1,"time_window":60,"group":"g","policy":"redis","redis_host":"127.0.0.1"}`,
	} {
		if p, err := plugintest.Try(&Plugin, env, conf); err == nil {
			p.Close()
		}
		if n := env.Shared.Len(); n != 0 {
			t.Errorf("%s: %d shared values left", conf, n)
		}
	}
}

// What arrived is counted when it arrived, unless its body was waited for.
func TestTimeOfArrival(t *testing.T) {
	env := still()
	p := plugintest.Build(t, &Plugin, env, `{"count":100,"time_window":60,"window_type":"sliding"}`)
	for _, x := range []struct {
		start time.Time
		body  int64
		reset string
	}{
		{standing.Add(-15 * time.Second), 0, "15"},
		{standing.Add(-15 * time.Second), 1, "60"},
		{standing.Add(-15 * time.Second), -1, "60"},
		{time.Time{}, 0, "60"},
	} {
		c := arriving()
		c.Start, c.Req.ContentLength = x.start, x.body
		if r, err := p.Access(c); r != nil || err != nil {
			t.Fatal(r, err)
		}
		if got := c.RespHeader.Get("X-RateLimit-Reset"); got != x.reset {
			t.Errorf("started at %v, body %d: reset %s, want %s", x.start, x.body, got, x.reset)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"count":1000000000,"time_window":60}`)
	c := plugintest.Request("GET", "/")
	req, arrived := c.Req, c.Start
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Addr, c.Start = req.Remote.Addr(), arrived
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
