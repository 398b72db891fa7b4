package wire

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestChaos lets clients come, go and misbehave at once. Every answer that
// arrives as a whole must be the one to its own request, and the engine must not fail.
func TestChaos(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(403)
			return
		}
		if r.URL.Path == "/drop" {
			panic(http.ErrAbortHandler)
		}
		b, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodGet {
			b = []byte(r.URL.RawQuery)
		}
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		}
		_, _ = w.Write(b)
	})
	engines(t, func(t *testing.T, engine string) {
		var n atomic.Int64
		addr, _, _ := startProxy(t, engine, up, func(p *proxy, s *Server) {
			p.edit = func(x *Exchange, _ *Outgoing) {
				if n.Add(1)%16 == 0 {
					x.Leave()
				}
			}
			s.Timeouts = Timeouts{HalfClosed: 40 * time.Millisecond, Linger: 20 * time.Millisecond, Idle: 100 * time.Millisecond}
			s.OnError = func(_ net.Addr, e *Error) {
				if e.Side == Us {
					t.Error(e)
				}
			}
		})
		rounds := 20
		if testing.Short() {
			rounds = 5
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 42))
				for n := range rounds {
					mischief(t, rng, addr, fmt.Sprintf("<%d.%d>", i, n))
				}
			})
		}
		wg.Wait()
	})
}

// several makes a few requests without body, one after the other; false when the
// connection is not there any more.
func several(t *testing.T, rng *rand.Rand, c *http.Client, url, mark string) bool {
	for n := range rng.IntN(20) {
		query := strings.Repeat(fmt.Sprint(mark, n), 1+rng.IntN(20))
		resp, err := c.Get(url + query)
		if err != nil {
			return false
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == 200 && string(got) != query {
			t.Errorf("an answer to %s is not its own: %.60q", query, got)
		}
		if err != nil || resp.Close {
			return false
		}
	}
	return true
}

// mischief makes one connection with a few requests of which some go wrong.
func mischief(t *testing.T, rng *rand.Rand, addr, mark string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &http.Client{Transport: &http.Transport{DialContext: dialOnce(nc)}, Timeout: 20 * time.Second}
	defer c.CloseIdleConnections()
	for range 1 + rng.IntN(4) {
		body := strings.Repeat(mark, 1+rng.IntN(1<<uint(rng.IntN(15))))
		path := []string{"/", "/sized", "/early", "/drop", "/last"}[min(4, rng.IntN(12)/2)]
		if rng.IntN(2) == 0 && !several(t, rng, c, "http://"+addr+path+"?", mark) {
			return
		}
		var r io.Reader = strings.NewReader(body)
		if rng.IntN(2) == 0 {
			r = io.MultiReader(r) // chunked
		}
		switch rng.IntN(8) {
		case 0: // leaves in the middle
			_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"+body[:len(body)/2])
			if rng.IntN(2) == 0 {
				_ = nc.(*net.TCPConn).SetLinger(0)
			}
			return
		case 1: // nonsense
			_, _ = io.WriteString(nc, "\x00\r\n")
			return
		}
		resp, err := c.Post("http://"+addr+path, "text/plain", r)
		if err != nil {
			return
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == 200 && string(got) != body {
			t.Errorf("%s: an answer of %d bytes to %d bytes is not its own: %.60q", mark, len(got), len(body), got)
		}
		if resp.Close {
			return
		}
	}
}
