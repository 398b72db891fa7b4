package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// apiKey is what the load sends where key-auth is on.
const apiKey = "bench-key"

// headersOf are the fields that a kind of route wants.
func (b *bench) headersOf(kind string) http.Header {
	h := http.Header{}
	if kind == "plugins" {
		h.Set("apikey", apiKey)
	}
	return h
}

// routes of the gateway, as apisix.yaml.
func (b *bench) plainRoutes() string {
	return fmt.Sprintf(`routes:
  - id: "1"
    uri: /*
    upstream: {type: roundrobin, nodes: {"%s": 1}}
`, b.upstream.addr)
}

func (b *bench) pluginRoutes() string {
	return fmt.Sprintf(`routes:
  - id: "1"
    uri: /*
    upstream: {type: roundrobin, nodes: {"%s": 1}}
    plugins:
      key-auth: {}
      limit-count: {count: 1000000000, time_window: 600, key: remote_addr, rejected_code: 429}
      prometheus: {}
      proxy-rewrite: {headers: {set: {X-Bench: "1"}}}
      cors: {}
consumers:
  - username: bench
    plugins: {key-auth: {key: %s}}
`, b.upstream.addr, apiKey)
}

// compare drives the proxies in turn, round by round, after a short warm-up.
func (b *bench) compare(label string, l map[*server]load, order []*server) error {
	all := map[*server][]sample{}
	for _, s := range order {
		if _, err := b.drive(s, l[s], time.Second); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for i := range order {
			s := order[(i+round)%len(order)] // nobody is always first
			m, err := b.drive(s, l[s], b.duration)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "   round %d %-16s %8.0f/s %6.1f µs\n", round+1, s.name, m.perSecond, m.cpu)
			all[s] = append(all[s], m)
		}
	}
	var nginx []sample
	for _, s := range order {
		if s.name == "nginx" {
			nginx = all[s]
		}
	}
	for _, s := range order {
		b.add(label, s.name, all[s], nginx)
	}
	return nil
}

// proxies starts the three with n workers each.
func (b *bench) proxies(n int, cpus, routes string) ([]*server, error) {
	nginx, err := b.startNginx(n, cpus)
	if err != nil {
		return nil, err
	}
	haproxy, err := b.startHaproxy(n, cpus)
	if err != nil {
		return nil, err
	}
	sluice, err := b.startSluice(n, cpus, routes)
	if err != nil {
		return nil, err
	}
	return []*server{nginx, haproxy, sluice}, nil
}

// same is one load for all of them.
func same(all []*server, l load) map[*server]load {
	m := map[*server]load{}
	for _, s := range all {
		m[s] = l
	}
	return m
}

func (b *bench) simple(label string, n int, cpus string, l load) error {
	all, err := b.proxies(n, cpus, b.plainRoutes())
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range all {
			s.stop()
		}
	}()
	return b.compare(label, same(all, l), all)
}

func (b *bench) plain() error {
	return b.simple("small body", 1, "0", load{path: "/", cpus: lastCPU()})
}

func (b *bench) twoProcessors() error {
	return b.simple("two processors", 2, "", load{path: "/"})
}

func (b *bench) largeBodies() error {
	return b.simple("100 KiB bodies", 1, "0", load{path: "/100k", cpus: lastCPU()})
}

func (b *bench) headers() error {
	return b.simple("12 fields, 4 KiB request body", 1, "0", load{path: "/", cpus: lastCPU(), script: `
wrk.method = "POST"
wrk.body = string.rep("x", 4096)
wrk.headers["Content-Type"] = "application/json"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Cookie"] = "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"
wrk.headers["Cache-Control"] = "no-cache"
wrk.headers["Referer"] = "http://example.com/where/it/came/from?query=yes"
wrk.headers["Origin"] = "http://example.com"
wrk.headers["X-Request-Id"] = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
`})
}

func (b *bench) fivePlugins() error {
	nginx, err := b.startNginx(1, "0")
	if err != nil {
		return err
	}
	defer nginx.stop()
	sluice, err := b.startSluice(1, "0", b.pluginRoutes())
	if err != nil {
		return err
	}
	defer sluice.stop()
	return b.compare("five plugins (nginx: none)", map[*server]load{
		nginx:  {path: "/", cpus: lastCPU()},
		sluice: {path: "/", cpus: lastCPU(), script: `wrk.headers["apikey"] = "` + apiKey + `"`},
	}, []*server{nginx, sluice})
}

// idleConnections measures the memory of connections that were used once.
func (b *bench) idleConnections() error {
	all, err := b.proxies(1, "0", b.plainRoutes())
	if err != nil {
		return err
	}
	for _, s := range all {
		per, err := b.idleOf(s)
		s.stop()
		if err != nil {
			return err
		}
		b.report = append(b.report, line{label: fmt.Sprintf("memory of an idle connection (%d)", b.idle), who: s.name,
			values: map[string]string{"note": fmt.Sprintf("%.1f KiB", per/1024)}})
	}
	return nil
}

func (b *bench) idleOf(s *server) (float64, error) {
	// one use first: what is made once does not count
	if err := useOnce(s.addr, 1, nil); err != nil {
		return 0, err
	}
	before := s.rss()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err := useOnce(s.addr, b.idle, &conns); err != nil {
		return 0, err
	}
	// memory settles after the last buffer was given back: take the lowest
	// figure of some seconds
	lowest := s.rss()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		lowest = min(lowest, s.rss())
	}
	return (lowest - before) / float64(b.idle), nil
}

// useOnce opens n connections, 50 at a time, sends one request on each and
// keeps them in conns.
func useOnce(addr string, n int, conns *[]net.Conn) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, n)
	slots := make(chan struct{}, 50)
	for i := range n {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.SetDeadline(time.Now().Add(30 * time.Second))
				_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			}
			if err == nil {
				_, err = c.Read(make([]byte, 4096))
			}
			errs[i] = err
			if conns == nil && c != nil {
				c.Close()
			} else if c != nil {
				mu.Lock()
				*conns = append(*conns, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
