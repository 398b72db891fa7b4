package counter

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/plugintest"
	"sluice/plugins/internal/redistest"
	"sluice/plugins/internal/redisx"
)

// remote opens a Remote that goes with the test.
func remote(t testing.TB, env *plugins.Env, policy string, conf *redisx.Conf) *Remote {
	t.Helper()
	r, release, err := openRemote(env, "limit-count", policy, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return r
}

func use1(t testing.TB, s Store, key string, q Quota) State {
	t.Helper()
	state, err := s.Take(context.Background(), []byte(key), q, 1)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// places are the kinds of Redis.
func places(t *testing.T) map[string]*redisx.Conf {
	sentinel, _ := redistest.Sentinel(t)
	return map[string]*redisx.Conf{
		redisx.Single:  {Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(t), Timeout: 20000}},
		redisx.Cluster: {Redis: redisx.Redis{ClusterNodes: redistest.Cluster(t, 3), ClusterName: "c", Timeout: 20000}},
		redisx.Guarded: {Sentinels: []redisx.Sentinel{{Host: "127.0.0.1", Port: sentinel}}, MasterName: "mymaster",
			ConnectTimeout: 20000, ReadTimeout: 20000},
	}
}

func TestRemote(t *testing.T) {
	for policy, conf := range places(t) {
		t.Run(policy, func(t *testing.T) {
			env := plugintest.Env()
			c := newClock(600 * time.Second)
			env.Now = c.now
			// Two gateways, one count.
			a, b := remote(t, env, policy, conf), remote(t, plugintest.Env(), policy, conf)
			b.now = c.now
			for i := range 20 {
				testFixed(t, a, b, "fixed"+strconv.Itoa(i))
			}
			testSliding(t, a, b, c)
		})
	}
}

func testFixed(t *testing.T, a, b Store, key string) {
	t.Helper()
	q := Quota{Limit: 2, Window: time.Hour}
	for i, s := range []Store{a, b, a, b} {
		got := use1(t, s, key, q)
		if got.Left != int64(1-i) || got.Rejected != (i > 1) {
			t.Errorf("%s, use %d: %+v", key, i, got)
		}
		if got.Reset > time.Hour || got.Reset < 50*time.Minute {
			t.Errorf("%s, use %d: resets in %v", key, i, got.Reset)
		}
	}
}

func testSliding(t *testing.T, a, b Store, c *clock) {
	t.Helper()
	q := Quota{Limit: 10, Window: 60 * time.Second, Sliding: true}
	for i := range 10 {
		if got := use1(t, []Store{a, b}[i%2], "s", q); got.Rejected || got.Left != int64(9-i) {
			t.Fatalf("use %d: %+v", i, got)
		}
	}
	if got := use1(t, b, "s", q); !got.Rejected || got.Reset != 60*time.Second {
		t.Errorf("eleventh: %+v", got)
	}
	c.move(75 * time.Second)
	for i, left := range []int64{1, 0, -1} {
		if got := use1(t, a, "s", q); got.Rejected || got.Left != left || got.Reset != 45*time.Second {
			t.Errorf("use %d of the next window: %+v, want %d left", i, got, left)
		}
	}
	if got := use1(t, b, "s", q); !got.Rejected || got.Reset != 3*time.Second {
		t.Errorf("fourth of the next window: %+v", got)
	}
}

// TestSeveral: what comes behind a rejection is not counted.
func TestSeveral(t *testing.T) {
	for policy, conf := range places(t) {
		env := plugintest.Env()
		env.Now = newClock(600 * time.Second).now
		r := remote(t, env, policy, conf)
		for _, sliding := range []bool{false, true} {
			one, three := Quota{Limit: 1, Window: time.Hour, Sliding: sliding}, Quota{Limit: 3, Window: 60 * time.Second, Sliding: sliding}
			keys := [2][]byte{fmt.Appendf(nil, "one%v", sliding), fmt.Appendf(nil, "three%v", sliding)}
			for i, rejected := range []bool{false, true, true} {
				takes := []Take{{Key: keys[0], Quota: one, Cost: 1}, {Key: keys[1], Quota: three, Cost: 1}}
				if err := r.TakeAll(context.Background(), takes); err != nil || takes[0].State.Rejected != rejected {
					t.Fatalf("%s, sliding %v, %d: %+v, %v", policy, sliding, i, takes, err)
				}
				if left := takes[1].State.Left; !rejected && left != 2 {
					t.Errorf("%s, sliding %v, %d: %d left", policy, sliding, i, left)
				}
			}
			if got := use1(t, r, string(keys[1]), three); got.Left != 1 {
				t.Errorf("%s, sliding %v: %+v, want 1 left", policy, sliding, got)
			}
		}
	}
}

func TestRemoteKeys(t *testing.T) {
	port := redistest.Single(t)
	env := plugintest.Env()
	env.Now = newClock(600 * time.Second).now
	r := remote(t, env, redisx.Single, &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: port, Database: 3}})
	use1(t, r, "/apisix/routes/1:7:a", Quota{Limit: 2, Window: time.Minute})
	use1(t, r, "/apisix/routes/1:7:a", Quota{Limit: 2, Window: time.Minute, Sliding: true})
	if n := redistest.Do(t, port, "DBSIZE"); n != "0" {
		t.Errorf("%s keys in the wrong database", n)
	}
	remote(t, env, redisx.Single, &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: port}})
	if got := redistest.DoIn(t, port, 3, "KEYS", "*"); !strings.Contains(got, "plugin-limit-count:v1:/apisix/routes/1:7:a") ||
		!strings.Contains(got, "plugin-limit-count:/apisix/routes/1:7:a.10.counter") {
		t.Errorf("keys: %s", got)
	}
}

func TestRemoteConcurrently(t *testing.T) {
	conf := &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(t), Timeout: 20000}}
	for _, sliding := range []bool{false, true} {
		a := remote(t, plugintest.Env(), redisx.Single, conf)
		b := remote(t, plugintest.Env(), redisx.Single, conf)
		now := newClock(600 * time.Second).now
		a.now, b.now = now, now
		q := Quota{Limit: 100, Window: time.Hour, Sliding: sliding}
		var passed atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 25 {
					if !use1(t, []Store{a, b}[i%2], fmt.Sprint(sliding), q).Rejected {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := passed.Load(); n != 100 {
			t.Errorf("sliding %v: %d of 200 passed, want 100", sliding, n)
		}
	}
}

// TestDelayed has two gateways that tell Redis only when the test says so.
func TestDelayed(t *testing.T) {
	conf := &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(t), Timeout: 20000}}
	c := newClock(600 * time.Second)
	for _, sliding := range []bool{false, true} {
		t.Run(fmt.Sprint("sliding ", sliding), func(t *testing.T) {
			var both [2]*Delayed
			for i := range both {
				env := plugintest.Env()
				env.Now = c.now
				both[i] = newDelayed(remote(t, env, redisx.Single, conf), 10*time.Minute, c.now, env.Log)
				t.Cleanup(both[i].stop)
			}
			a, b := both[0], both[1]
			q := Quota{Limit: 10, Window: time.Hour, Sliding: sliding}
			key := fmt.Sprint("delayed", sliding)
			spend := func(d *Delayed, n int) (passed int) {
				for range n {
					if !use1(t, d, key, q).Rejected {
						passed++
					}
				}
				return passed
			}
			if got := use1(t, a, key, q); got.Rejected || got.Left != 9 {
				t.Errorf("first: %+v", got)
			}
			// Neither knows of the other: twice the limit is the most there can be.
			if n := spend(a, 20); n != 9 {
				t.Errorf("%d of 20 passed at the first", n)
			}
			if n := spend(b, 4); n != 4 {
				t.Errorf("%d of 4 passed at the second", n)
			}
			a.flush(context.Background())
			b.flush(context.Background())
			if n := spend(b, 5); n != 0 {
				t.Errorf("%d passed after the second had heard of the first", n)
			}
			if n := spend(a, 5); n != 0 {
				t.Errorf("%d passed at the first", n)
			}
			// Nothing is told twice.
			exact := remote(t, plugintest.Env(), redisx.Single, conf)
			exact.now = c.now
			s, err := exact.Take(context.Background(), []byte(key), Quota{Limit: 100, Window: time.Hour, Sliding: sliding}, 0)
			if err != nil || s.Left != 100-14 {
				t.Errorf("%+v, %v: want 14 counted", s, err)
			}
		})
	}
}

func TestDelayedTellsAtTheEnd(t *testing.T) {
	conf := &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(t), Timeout: 20000}}
	env := plugintest.Env()
	r := remote(t, env, redisx.Single, conf)
	d := newDelayed(r, 10*time.Minute, env.Now, env.Log)
	q := Quota{Limit: 10, Window: time.Hour}
	use1(t, d, "k", q)
	use1(t, d, "k", q)
	d.stop()
	if got := use1(t, r, "k", q); got.Left != 7 {
		t.Errorf("%+v, want 7 left", got)
	}
	if got := use1(t, d, "other", q); got.Left != 9 {
		t.Errorf("after the end: %+v", got)
	}
}

func TestDelayedByItself(t *testing.T) {
	conf := &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(t), Timeout: 20000}}
	env := plugintest.Env()
	a, b := remote(t, env, redisx.Single, conf), remote(t, env, redisx.Single, conf)
	d := newDelayed(a, 20*time.Millisecond, env.Now, env.Log)
	defer d.stop()
	q := Quota{Limit: 1000, Window: time.Hour}
	use1(t, d, "k", q)
	for until := time.Now().Add(20 * time.Second); ; {
		s, err := b.Take(context.Background(), []byte("k"), q, 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.Left == 999 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("Redis has not heard: %+v", s)
		}
	}
}

func TestDelayedAlone(t *testing.T) {
	env := plugintest.Env()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := remote(t, env, redisx.Single, &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}})
	d := newDelayed(r, 10*time.Minute, env.Now, env.Log)
	defer d.stop()
	q := Quota{Limit: 2, Window: time.Hour}
	for i, rejected := range []bool{false, false, true} {
		if got := use1(t, d, "k", q); got.Rejected != rejected {
			t.Errorf("use %d: %+v", i, got)
		}
	}
}

func BenchmarkRemote(b *testing.B) {
	env := plugintest.Env()
	r := remote(b, env, redisx.Single, &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(b)}})
	q := Quota{Limit: 1 << 50, Window: time.Hour}
	b.ReportAllocs()
	for b.Loop() {
		use1(b, r, "k", q)
	}
}

func BenchmarkDelayed(b *testing.B) {
	env := plugintest.Env()
	r := remote(b, env, redisx.Single, &redisx.Conf{Redis: redisx.Redis{Host: "127.0.0.1", Port: redistest.Single(b)}})
	d := newDelayed(r, 100*time.Millisecond, env.Now, env.Log)
	defer d.stop()
	q := Quota{Limit: 1 << 50, Window: time.Hour}
	key := []byte("k")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Take(context.Background(), key, q, 1); err != nil {
			b.Fatal(err)
		}
	}
}
