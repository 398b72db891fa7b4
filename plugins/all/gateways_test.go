package all

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/plugins/internal/redistest"
)

// TestSyncedGateways counts what two gateways let through that tell one Redis
// only every so often what they have counted: the limit at least, and of n
// gateways at most n times the limit, as limit-count's README says.
func TestSyncedGateways(t *testing.T) {
	reg := Registry()
	catalog, _, err := plugins.NewCatalog(reg, slices.Sorted(maps.Keys(reg)))
	if err != nil {
		t.Fatal(err)
	}
	redis := redistest.Single(t)
	for _, window := range []string{"fixed", "sliding"} {
		t.Run(window, func(t *testing.T) {
			both := &synced{t: t, redis: redis, a: newRig(t, catalog), b: newRig(t, catalog),
				client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: patience}}
			t.Cleanup(both.client.CloseIdleConnections)
			both.route("burst-"+window, window, 50)
			both.overshoot("burst-"+window, 50)
			both.route("seen-"+window, window, 1000)
			both.hear("seen-"+window, 1000)
		})
	}
}

// clients are how many send requests to a gateway at the same time.
const clients = 8

// synced are two gateways with the same routes, which share nothing but a Redis.
type synced struct {
	t      *testing.T
	redis  int
	a, b   *rig
	client *http.Client
}

// route makes a route of that name, with a window that does not end during the test.
func (s *synced) route(name, window string, count int) {
	s.t.Helper()
	for _, r := range []*rig{s.a, s.b} {
		r.put(resource.Routes, name, fmt.Sprintf(`{"uri":"/%s","upstream":{"nodes":{"%s":1}},"plugins":{"limit-count":
			{"count":%d,"time_window":1000000000,"window_type":"%s","rejected_code":429,"policy":"redis","redis_host":"127.0.0.1",
			"redis_port":%d,"redis_timeout":20000,"sync_interval":0.1}}}`, name, r.echo.Listener.Addr(), count, window, s.redis))
	}
}

// get sends a request and tells whether it passed, and how many are left.
func (s *synced) get(r *rig, name string) (passed bool, left int) {
	resp, err := s.client.Get("http://" + r.addr + "/" + name)
	if err != nil {
		s.t.Error(err)
		return false, 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.t.Error(err)
	}
	if resp.StatusCode != 200 && resp.StatusCode != 429 {
		s.t.Errorf("/%s: status %d", name, resp.StatusCode)
	}
	if left, err = strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining")); err != nil {
		s.t.Errorf("/%s: %v", name, err)
	}
	return resp.StatusCode == 200, left
}

// burst sends so many requests to each of the gateways at once, and returns how
// many passed.
func (s *synced) burst(name string, requests int, rigs ...*rig) int {
	var passed atomic.Int64
	var work sync.WaitGroup
	for _, r := range rigs {
		for range clients {
			work.Go(func() {
				for range requests / clients {
					if ok, _ := s.get(r, name); ok {
						passed.Add(1)
					}
				}
			})
		}
	}
	work.Wait()
	return int(passed.Load())
}

// told waits until Redis knows of so many uses.
func (s *synced) told(name string, uses int) {
	s.t.Helper()
	s.await(func() error {
		key := redistest.Do(s.t, s.redis, "KEYS", "*routes/"+name+":*")
		if got := redistest.Do(s.t, s.redis, "GET", key); got != strconv.Itoa(uses) {
			return fmt.Errorf("Redis has %s uses at %q, want %d", got, key, uses)
		}
		return nil
	})
}

func (s *synced) await(f func() error) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal(err)
		}
	}
}

// overshoot asks both for more than they may give.
func (s *synced) overshoot(name string, limit int) {
	passed := s.burst(name, 4*limit, s.a, s.b)
	if passed < limit || passed > 2*limit {
		s.t.Errorf("%d requests passed, want %d to %d", passed, limit, 2*limit)
	}
	s.t.Logf("%d passed with a limit of %d", passed, limit)
	s.told(name, passed) // each use, and once
	if n := s.burst(name, 16, s.a, s.b); n != 0 {
		s.t.Errorf("%d passed after both had told what they used", n)
	}
}

// hear uses up a part at one gateway; the other one, which has begun before,
// comes to know exactly that.
func (s *synced) hear(name string, limit int) {
	own := 1
	if ok, left := s.get(s.b, name); !ok || left != limit-1 {
		s.t.Errorf("first: passed %v, %d left", ok, left)
	}
	others := s.burst(name, 320, s.a)
	if others != 320 {
		s.t.Errorf("%d of 320 passed at the first", others)
	}
	s.await(func() error {
		ok, left := s.get(s.b, name)
		if ok {
			own++
		}
		if want := limit - others - own; left != want {
			return fmt.Errorf("%d left at the second, want %d: the first used %d, itself %d", left, want, others, own)
		}
		return nil
	})
	s.told(name, others+own)
}
