package limitreq

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
	"sluice/plugins/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1000, c.ns.Load()) }

func status(t *testing.T, p plugins.Phases, target string) int {
	t.Helper()
	r, err := p.Access(plugintest.Request("GET", target))
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return 200
	}
	return r.Status
}

func TestRate(t *testing.T) {
	redis := `"policy":"redis","redis_timeout":20000,"redis_host":"127.0.0.1","redis_port":` + strconv.Itoa(redistest.Single(t)) + `,`
	for name, policy := range map[string]string{"local": "", "redis": redis} {
		t.Run(name, func(t *testing.T) {
			env := plugintest.Env()
			var c clock
			env.Now = c.now
			conf := `{` + policy + `"rate":2,"burst":1,"nodelay":true,"key":"arg_k","rejected_code":429,"rejected_msg":"slow"}`
			p := plugintest.Build(t, &Plugin, env, conf)
			for i, s := range []struct {
				target string
				after  time.Duration
				want   int
			}{
				{"/?k=a", 0, 200}, {"/?k=a", 0, 200}, {"/?k=a", 0, 429}, {"/?k=b", 0, 200},
				{"/?k=a", 500 * time.Millisecond, 200}, {"/?k=a", 0, 429},
				{"/", 0, 200}, {"/?k=a", 10 * time.Second, 200},
			} {
				c.ns.Add(int64(s.after))
				if got := status(t, p, s.target); got != s.want {
					t.Errorf("step %d: %d, want %d", i, got, s.want)
				}
			}
			// The same configuration elsewhere has its own buckets, the same one goes on.
			for key, want := range map[string]int{env.Key: 429, "routes/2/x/0": 200} {
				own := *env
				own.Key = key
				q := plugintest.Build(t, &Plugin, &own, conf)
				status(t, q, "/?k=c"+name)
				status(t, p, "/?k=c"+name)
				if got := status(t, q, "/?k=c"+name); got != want {
					t.Errorf("%s: %d, want %d", key, got, want)
				}
				c.ns.Add(int64(time.Minute))
			}
		})
	}
}

func TestDelayEndsWithTheClient(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"rate":0.01,"burst":9,"key":"remote_addr"}`)
	status(t, p, "/")
	c := plugintest.Request("GET", "/")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Context = ctx
	if _, err := p.Access(c); err == nil {
		t.Error("waited for a client that had gone")
	}
}

func TestRedisAway(t *testing.T) {
	for conf, want := range map[string]int{`false`: 500, `true`: 200} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(),
			`{"rate":1,"burst":1,"key":"remote_addr","policy":"redis","redis_host":"127.0.0.1","redis_port":1,"allow_degradation":`+conf+`}`)
		if got := status(t, p, "/"); got != want {
			t.Errorf("allow_degradation %s: %d, want %d", conf, got, want)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	env := plugintest.Env()
	for _, conf := range []string{`{"rate":1,"burst":1,"key":"a"}`, `{"rate":1,"burst":1,"key":"a","policy":"redis","redis_host":"127.0.0.1"}`} {
		p, err := plugintest.Try(&Plugin, env, conf)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if n := env.Shared.Len(); n != 0 {
			t.Errorf("%s: %d shared values left", conf, n)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"rate":1000000000,"burst":1000,"nodelay":true,"key":"remote_addr"}`)
	c := plugintest.Request("GET", "/")
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
