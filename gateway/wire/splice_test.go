package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestLongBodies(t *testing.T) {
	body := make([]byte, 5<<20+17)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(body[:n])
	})
	engines(t, func(t *testing.T, engine string) {
		addr, _, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		for _, n := range []int{0, 1, 15 << 10, 16 << 10, 17 << 10, 48 << 10, 49 << 10, 200 << 10, len(body)} {
			c.send("GET /?n=" + strconv.Itoa(n) + " HTTP/1.1\r\nHost: a\r\n\r\n")
			r, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(got, body[:n]) || r.ContentLength != int64(n) {
				t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
			}
		}
	})
}

func TestClientLeavesDuringLongBody(t *testing.T) {
	stopped := make(chan struct{}, 1)
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(1<<30))
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				stopped <- struct{}{}
				return
			}
		}
	})
	engines(t, func(t *testing.T, engine string) {
		addr, p, _ := startProxy(t, engine, up)
		c := dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := io.ReadFull(c.r, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-stopped
		var e *Error
		if err := <-p.errs; !errors.As(err, &e) || e.Side != Client {
			t.Errorf("%v", err)
		}
	})
}

func TestSlowReaderTimesOut(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(1<<30))
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	engines(t, func(t *testing.T, engine string) {
		addr, p, _ := startProxy(t, engine, up, func(_ *proxy, s *Server) { s.Timeouts.Send = 50 * time.Millisecond })
		c := dial(t, addr)
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		var e *Error
		if err := <-p.errs; !errors.As(err, &e) || e.Side != Client || e.Kind != Timeout {
			t.Errorf("%v", err)
		}
	})
}
