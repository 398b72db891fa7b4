package apibreaker

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// visit is a request that the upstream, if asked, answers with status.
func visit(t *testing.T, p plugins.Phases, path string, status int) int {
	t.Helper()
	c := plugintest.Request("GET", path)
	r, err := p.Access(c)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		status = r.Status
	} else {
		c.Tries = []plugins.Try{{Status: status}}
	}
	p.Log(c)
	return status
}

func TestBreaker(t *testing.T) {
	env := plugintest.Env()
	var at atomic.Int64
	at.Store(1000)
	env.Now = func() time.Time { return time.Unix(at.Load(), 0) }
	p := plugintest.Build(t, &Plugin, env, `{"break_response_code":599,"max_breaker_sec":5,
		"unhealthy":{"http_statuses":[500,503],"failures":2},"healthy":{"http_statuses":[200],"successes":2}}`)
	for i, s := range []struct {
		after        int64
		path         string
		answer, want int
	}{
		{0, "/a", 500, 500}, {0, "/a", 404, 404}, {0, "/a", 503, 503}, {0, "/a", 200, 599}, {0, "/b", 200, 200},
		{2, "/a", 200, 599}, {1, "/a", 500, 500}, {0, "/a", 500, 500},
		// The second time it lasts 4 seconds, the third not 8 but 5.
		{4, "/a", 200, 599}, {1, "/a", 500, 500}, {0, "/a", 500, 500}, {5, "/a", 200, 599},
		{1, "/a", 200, 200}, {0, "/a", 200, 200}, {0, "/a", 500, 500}, {0, "/a", 200, 200}, {0, "/a", 500, 500}, {0, "/a", 200, 599},
	} {
		at.Add(s.after)
		if got := visit(t, p, s.path, s.answer); got != s.want {
			t.Errorf("step %d: %d, want %d", i, got, s.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"break_response_code":502,"break_response_body":"later",
		"break_response_headers":[{"key":"X-Client","value":"$remote_addr"}],"unhealthy":{"failures":1}}`)
	visit(t, p, "/", 500)
	r, err := p.Access(plugintest.Request("GET", "/"))
	if err != nil || r == nil || r.Status != 502 || r.Body != "later" || r.Header.Get("X-Client") != "127.0.0.1" {
		t.Errorf("%+v %v", r, err)
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"break_response_code":502}`)
	c := plugintest.Request("GET", "/some/path")
	req := c.Req
	b.ReportAllocs()
	for b.Loop() {
		path := c.Path
		c.Reset(c.Context, req, nil, nil)
		c.Addr, c.Path = req.Remote.Addr(), path
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
	}
}
