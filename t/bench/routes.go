package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// match runs the router's own benchmark: it needs no process.
func (b *bench) match() error {
	out, err := exec.Command("go", "test", "-run=^$", "-bench=^BenchmarkMatch$", "-benchmem", "./router").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench: %w\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^BenchmarkMatch/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?(\d+) allocs/op`).FindAllSubmatch(out, -1) {
		b.report = append(b.report, line{label: "a match among 100,000 routes", who: "router, " + string(m[1]),
			values: map[string]string{"note": fmt.Sprintf("%s ns, %s allocations", m[2], m[3])}})
	}
	return nil
}

// config measures a gateway with many routes, over an etcd in this process.
func (b *bench) config() error {
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
	before := empty.heap()
	empty.stop()
	rev, err := b.fill(c)
	if err != nil {
		return err
	}
	s, took, err := b.startWithEtcd(c.Endpoints()[0], rev)
	if err != nil {
		return err
	}
	defer s.stop()
	n := fmt.Sprintf("%d routes", b.routes)
	b.note(n, "start until all are live", fmt.Sprintf("%.2f s", took.Seconds()))
	b.note(n, "heap of one", fmt.Sprintf("%.2f KiB", (s.heap()-before)/float64(b.routes)/1024))
	return b.addLive(s, c, n)
}

func (b *bench) note(label, what, value string) {
	b.report = append(b.report, line{label: label, who: what, values: map[string]string{"note": value}})
}

func (b *bench) startEtcd() (*embed.Etcd, *clientv3.Client, error) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.UnsafeNoFsync = filepath.Join(b.dir, "etcd"), "fatal", true
	free, err := url.Parse("http://127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*free}, []url.URL{*free}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*free}, []url.URL{*free}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, nil, err
	}
	<-e.Server.ReadyNotify()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Clients[0].Addr().String()}, Logger: zap.NewNop()})
	return e, c, err
}

// route i of 1,000 hosts.
func (b *bench) route(i int) (key, value string) {
	return fmt.Sprintf("/apisix/routes/%d", i), fmt.Sprintf(
		`{"id":"%d","uri":"/api/%d/*","host":"host%d.example.com","upstream":{"type":"roundrobin","nodes":{"%s":1}},"create_time":1700000000,"update_time":1700000000}`,
		i, i/1000, i%1000, b.upstream.addr)
}

// fill writes the routes and returns the last revision.
func (b *bench) fill(c *clientv3.Client) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for from := 0; from < b.routes; from += 100 {
		var ops []clientv3.Op
		for i := from; i < min(from+100, b.routes); i++ {
			key, value := b.route(i)
			ops = append(ops, clientv3.OpPut(key, value))
		}
		r, err := c.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return 0, err
		}
		rev = r.Header.Revision
	}
	return rev, nil
}

// startWithEtcd starts a gateway over etcd and waits until revision rev is live.
func (b *bench) startWithEtcd(endpoint string, rev int64) (*server, time.Duration, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, 0, err
	}
	control, err := freeAddr()
	if err != nil {
		return nil, 0, err
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "conf"), 0o755); err != nil {
		return nil, 0, err
	}
	text := strings.Replace(b.sluiceConfig(addr, control, "etcd"), "deployment:\n",
		fmt.Sprintf("deployment:\n  etcd: {host: [\"http://%s\"]}\n", endpoint), 1)
	conf, err := b.file("conf/config.yaml", text)
	if err != nil {
		return nil, 0, err
	}
	binary, err := filepath.Abs(b.binary)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	s, err := b.start("sluice", "", control, nil, binary, "run", "-c", conf)
	if err != nil {
		return nil, 0, err
	}
	s.ctl, s.addr = control, addr
	err = s.waitFor(rev)
	return s, time.Since(began), err
}

// waitFor waits until revision rev is live.
func (s *server) waitFor(rev int64) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/v1/sluice/version?wait=%d&timeout=60", s.ctl, rev))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("revision %d is not live: %s", rev, resp.Status)
	}
	return nil
}

// heap is what is live after a collection.
func (s *server) heap() float64 {
	if resp, err := http.Get("http://" + s.ctl + "/debug/pprof/heap?gc=1"); err == nil {
		resp.Body.Close()
	}
	return s.metric("/gc/heap/live:bytes")
}

// addLive adds routes one by one, each once the one before is live.
func (b *bench) addLive(s *server, c *clientv3.Client, label string) error {
	const adds = 50
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var times []float64
	cpu, err := s.cpuTime()
	if err != nil {
		return err
	}
	for i := range adds {
		key, value := b.route(b.routes + i)
		put, err := c.Put(ctx, key, value)
		if err != nil {
			return err
		}
		at := time.Now()
		if err := s.waitFor(put.Header.Revision); err != nil {
			return err
		}
		times = append(times, float64(time.Since(at).Microseconds())/1000)
	}
	after, err := s.cpuTime()
	if err != nil {
		return err
	}
	if len(times) == 0 {
		return errors.New("nothing was added")
	}
	b.note(label, "one more, until it is live", spread(times, "%.1f")+" ms")
	b.note(label, "one more, CPU", strconv.FormatFloat(float64((after-cpu).Microseconds())/1000/adds, 'f', 2, 64)+" ms")
	return nil
}
