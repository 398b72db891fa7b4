package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// scale measures one gateway over an etcd in this process with routes, a fifth
// as many upstreams and a tenth as many consumers: starting, memory, one change,
// and a hundred changes a second beside steady traffic.
func (b *bench) scale() error {
	etcd, c, err := b.startEtcd()
	if err != nil {
		return err
	}
	defer etcd.Close()
	defer c.Close()
	empty, _, err := b.startWithEtcd(c.Endpoints()[0], 1)
	if err != nil {
		return err
	}
	before, resident := empty.settledHeap(), empty.rss()
	empty.stop()
	rev, err := b.fillScale(c)
	if err != nil {
		return err
	}
	s, took, err := b.startWithEtcd(c.Endpoints()[0], rev)
	if err != nil {
		return err
	}
	defer s.stop()
	n := fmt.Sprintf("%d routes, %d upstreams, %d consumers", b.routes, b.routes/5, b.routes/10)
	b.note(n, "cold start, until all are live", fmt.Sprintf("%.2f s", took.Seconds()))
	heap := s.settledHeap()
	b.note(n, "heap", fmt.Sprintf("%.0f MiB, %.2f KiB an object", heap/(1<<20), (heap-before)/float64(b.routes*13/10)/1024))
	b.note(n, "resident", fmt.Sprintf("%.0f MiB (%.0f without objects)", s.rss()/(1<<20), resident/(1<<20)))
	if err := b.oneChange(s, c, n); err != nil {
		return err
	}
	if err := b.changing(s, c, n); err != nil {
		return err
	}
	return b.tree()
}

// settledHeap is what is live after two collections: pools need both.
func (s *server) settledHeap() float64 {
	s.heap()
	return s.heap()
}

// scaleRoute is route i; it refers to an upstream.
func (b *bench) scaleRoute(i, version int) (key, value string) {
	return fmt.Sprintf("/apisix/routes/%d", i), fmt.Sprintf(
		`{"id":"%d","name":"version %d","uri":"/api/%d/*","host":"host%d.example.com","upstream_id":"%d","create_time":1700000000,"update_time":1700000000}`,
		i, version, i/1000, i%1000, i%(b.routes/5))
}

func (b *bench) fillScale(c *clientv3.Client) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	put := func(n int, object func(int) (string, string)) error {
		for from := 0; from < n && err == nil; from += 100 {
			var ops []clientv3.Op
			for i := from; i < min(from+100, n); i++ {
				key, value := object(i)
				ops = append(ops, clientv3.OpPut(key, value))
			}
			var r *clientv3.TxnResponse
			if r, err = c.Txn(ctx).Then(ops...).Commit(); err == nil {
				rev = r.Header.Revision
			}
		}
		return err
	}
	for _, kind := range []struct {
		n      int
		object func(int) (string, string)
	}{
		{b.routes / 5, func(i int) (string, string) {
			return fmt.Sprintf("/apisix/upstreams/%d", i), fmt.Sprintf(`{"id":"%d","type":"roundrobin","nodes":{"%s":1},"create_time":1700000000}`, i, b.upstream.addr)
		}},
		{b.routes / 10, func(i int) (string, string) {
			return fmt.Sprintf("/apisix/consumers/c%d", i), fmt.Sprintf(`{"username":"c%d","plugins":{"key-auth":{"key":"key-%d"}}}`, i, i)
		}},
		{b.routes, func(i int) (string, string) { return b.scaleRoute(i, 0) }},
	} {
		if err := put(kind.n, kind.object); err != nil {
			return 0, err
		}
	}
	return rev, nil
}

// percentiles of times in ms.
func percentiles(ms []float64) string {
	slices.Sort(ms)
	at := func(p float64) float64 { return ms[min(int(p*float64(len(ms))), len(ms)-1)] }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", at(0.5), at(0.99))
}

// oneChange changes routes one by one, each once the one before is live.
func (b *bench) oneChange(s *server, c *clientv3.Client, label string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var times []float64
	for i := range 300 {
		key, value := b.scaleRoute(i*7%b.routes, i+1)
		at := time.Now()
		put, err := c.Put(ctx, key, value)
		if err != nil {
			return err
		}
		if err := s.waitFor(put.Header.Revision); err != nil {
			return err
		}
		times = append(times, float64(time.Since(at).Microseconds())/1000)
	}
	b.note(label, "one change, from the write until it is live", percentiles(times))
	return nil
}

// traffic is steady requests to s until stop is closed; it returns their times.
func traffic(s *server, perSecond int, stop <-chan struct{}) ([]float64, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		times  []float64
		failed atomic.Value
	)
	defer wg.Wait()
	for i := 0; ; i++ {
		select {
		case <-stop:
			wg.Wait()
			err, _ := failed.Load().(error)
			return times, err
		case <-tick.C:
		}
		wg.Go(func() {
			start := time.Now()
			req, _ := http.NewRequest("GET", fmt.Sprintf("http://%s/api/%d/x", s.addr, i%50), nil)
			req.Host = fmt.Sprintf("host%d.example.com", i%1000)
			resp, err := client.Do(req)
			if err != nil {
				failed.Store(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode >= 500 {
				failed.Store(fmt.Errorf("%s", resp.Status))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, float64(time.Since(start).Microseconds())/1000)
		})
	}
}

// changing compares the process with and without a hundred changes a second,
// beside the same traffic.
func (b *bench) changing(s *server, c *clientv3.Client, label string) error {
	const requests, changes = 500, 100
	for _, with := range []bool{false, true} {
		d := b.changes
		if !with {
			d /= 3
		}
		stop := make(chan struct{})
		cpu, err := s.cpuTime()
		if err != nil {
			return err
		}
		time.AfterFunc(d, func() { close(stop) })
		var wrote error
		var wg sync.WaitGroup
		if with {
			wg.Go(func() { wrote = b.write(c, changes, stop) })
		}
		times, err := traffic(s, requests, stop)
		wg.Wait()
		if err == nil {
			err = wrote
		}
		if err != nil {
			return err
		}
		after, err := s.cpuTime()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d requests/s", requests)
		if with {
			what += fmt.Sprintf(" and %d changes/s for %v", changes, d)
		}
		b.note(label, what, fmt.Sprintf("%s; CPU %.1f %% of one", percentiles(times), 100*(after-cpu).Seconds()/d.Seconds()))
	}
	return nil
}

// write changes routes at a rate until stop is closed.
func (b *bench) write(c *clientv3.Client, perSecond int, stop <-chan struct{}) error {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		key, value := b.scaleRoute(i*13%b.routes, 1000+i)
		if _, err := c.Put(context.Background(), key, value); err != nil {
			return err
		}
	}
}

// scaleTable is the report for the configuration centre's README.
func (b *bench) scaleTable() string {
	text := b.table()
	_, rows, _ := strings.Cut(text, "\n\n")
	head := fmt.Sprintf("%s, %s.\n\n", firstLine(b.binary, "version"), time.Now().UTC().Format("2006-01-02"))
	return head + rows
}
