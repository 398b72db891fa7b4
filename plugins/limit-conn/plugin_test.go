package limitconn

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
	"sluice/plugins/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enter sends a request in and returns it and the status.
func enter(t *testing.T, p plugins.Phases, fields ...string) (*plugins.Ctx, int) {
	t.Helper()
	c := plugintest.Request("GET", "/", fields...)
	r, err := p.Access(c)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return c, 200
	}
	return c, r.Status
}

func TestConnections(t *testing.T) {
	redis := `"policy":"redis","redis_timeout":20000,"redis_host":"127.0.0.1","redis_port":` + strconv.Itoa(redistest.Single(t)) + `,`
	for name, policy := range map[string]string{"local": "", "redis": redis} {
		t.Run(name, func(t *testing.T) {
			p := plugintest.Build(t, &Plugin, plugintest.Env(),
				`{`+policy+`"conn":1,"burst":1,"default_conn_delay":0.001,"key":"http_k","rejected_code":429}`)
			first, _ := enter(t, p, "k: a")
			enter(t, p, "k: a")
			third, got := enter(t, p, "k: a")
			if got != 429 {
				t.Errorf("third: %d", got)
			}
			p.Log(third) // took no place, gives none back
			if _, got := enter(t, p, "k: a"); got != 429 {
				t.Errorf("after a rejected one: %d", got)
			}
			if _, got := enter(t, p, "k: b"); got != 200 {
				t.Errorf("another key: %d", got)
			}
			p.Log(first)
			p.Log(first) // only once
			left := time.Now().Add(20 * time.Second)
			for {
				if _, got = enter(t, p, "k: a"); got == 200 || time.Now().After(left) {
					break
				}
			}
			if got != 200 {
				t.Errorf("after one had left: %d", got)
			}
			if _, got := enter(t, p, "k: a"); got != 429 {
				t.Errorf("one left, two came: %d", got)
			}
		})
	}
}

func TestRules(t *testing.T) {
	p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"default_conn_delay":0.001,"rules":[
		{"conn":"$http_conn","burst":"${http_burst ?? 0}","key":"$http_a"},{"conn":1,"burst":0,"key":"$http_b"}]}`)
	for i, s := range []struct {
		fields string
		want   int
	}{
		{"a: x,conn: 2", 200}, {"a: x,conn: 2", 200}, {"a: x,conn: 2", 503}, {"a: x,conn: 2,burst: 1", 200},
		{"b: x", 200}, {"b: x", 503}, {"a: y,conn: 2,b: x", 503}, {"c: x", 500}, {"a: x,conn: 0.5", 500}, {"a: x", 500},
	} {
		if _, got := enter(t, p, strings.Split(s.fields, ",")...); got != s.want {
			t.Errorf("step %d, %s: %d, want %d", i, s.fields, got, s.want)
		}
	}
}

func TestRedisAway(t *testing.T) {
	for conf, want := range map[string]int{`false`: 500, `true`: 200} {
		p := plugintest.Build(t, &Plugin, plugintest.Env(), `{"conn":1,"burst":0,"default_conn_delay":1,"key":"remote_addr",
			"policy":"redis","redis_host":"127.0.0.1","redis_port":1,"allow_degradation":`+conf+`}`)
		if _, got := enter(t, p); got != want {
			t.Errorf("allow_degradation %s: %d, want %d", conf, got, want)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	env := plugintest.Env()
	p, err := plugintest.Try(&Plugin, env, `{"conn":1,"burst":1,"default_conn_delay":1,"key":"a"}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if n := env.Shared.Len(); n != 0 {
		t.Errorf("%d shared values left", n)
	}
}

func BenchmarkAccessAndLog(b *testing.B) {
	p := plugintest.Build(b, &Plugin, plugintest.Env(), `{"conn":1000000,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}`)
	c := plugintest.Request("GET", "/")
	req := c.Req
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(c.Context, req, nil, nil)
		c.Addr = req.Remote.Addr()
		if r, err := p.Access(c); r != nil || err != nil {
			b.Fatal(r, err)
		}
		p.Log(c)
	}
}
