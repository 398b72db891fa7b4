package h2

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"sluice/gateway/wire"
)

func listenQUIC(t *testing.T, h handlerFunc, o Options) (*Server, string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(h, o)
	cert := certificate(t)
	done := make(chan error, 1)
	go func() {
		done <- s.ServeQUIC(pc, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}, nil
		}})
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = pc.Close()
	})
	return s, pc.LocalAddr().String()
}

func quicClient(t *testing.T) *http.Client {
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.com"}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func TestHTTP3(t *testing.T) {
	_, addr := listenQUIC(t, func(x *wire.Exchange) {
		length := x.Req.ContentLength
		b, err := io.ReadAll(x.Req.Body)
		x.Resp.Header.Add("X-A", "1")
		x.Resp.Header.Add("Connection", "close")
		x.Resp.Trailer.Add("X-End", "t"+x.Req.Trailer.Get("X-Sum"))
		s := fmt.Sprintf("%s %s %s %d %s %d %q %v %v %s", x.Req.Method, x.Req.Target, x.Req.Host, x.Req.Major, x.Req.TLS.ServerName, length, b, err,
			x.Req.Remote.IsValid() && x.Req.Local.IsValid(), x.Req.Header.Get("x-b"))
		x.Resp.Status, x.Resp.ContentLength, x.Resp.Body = 201, -1, io.NopCloser(strings.NewReader(s))
		_, _ = x.Send(&x.Resp, nil)
	}, Options{})
	c := quicClient(t)
	r := newRequest(t, "POST", "https://"+addr+"/a%20b?c=d", "hello")
	r.Host = "a.com"
	r.Header.Set("X-B", "b")
	resp, got := get(t, c, r)
	if want := `POST /a%20b?c=d a.com 3 a.com 5 "hello" <nil> true b`; got != want || resp.StatusCode != 201 || resp.ProtoMajor != 3 {
		t.Errorf("%d %q, want %q", resp.StatusCode, got, want)
	}
	if resp.Header.Get("X-A") != "1" || resp.Header.Get("Connection") != "" || resp.Trailer.Get("X-End") != "t" {
		t.Errorf("header %v, trailer %v", resp.Header, resp.Trailer)
	}
	if _, ok := resp.Header["Content-Type"]; ok {
		t.Error("a type was guessed")
	}
	r = newRequest(t, "GET", "https://"+addr+"/", "")
	r.Host = "a.com"
	if _, got := get(t, c, r); got != `GET / a.com 3 a.com 0 "" <nil> true ` {
		t.Errorf("a GET: %q", got)
	}
	r = newRequest(t, "TRACE", "https://"+addr+"/", "")
	if resp, _ := get(t, c, r); resp.StatusCode != 405 {
		t.Errorf("TRACE: %d", resp.StatusCode)
	}
}

func TestHTTP3BrokenAnswer(t *testing.T) {
	_, addr := listenQUIC(t, func(x *wire.Exchange) {
		x.Resp.Status, x.Resp.ContentLength = 200, -1
		x.Resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("abc"), failing{}))
		_, _ = x.Send(&x.Resp, nil)
	}, Options{})
	resp, err := quicClient(t).Do(newRequest(t, "GET", "https://"+addr+"/", ""))
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("the client took it for complete")
	}
}

func TestHTTP3Cancels(t *testing.T) {
	var running atomic.Int64
	_, addr := listenQUIC(t, func(x *wire.Exchange) {
		running.Add(1)
		defer running.Add(-1)
		<-x.Context.Done()
	}, Options{Resets: 5})
	c := quicClient(t)
	for range 30 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, err := c.Do(newRequest(t, "GET", "https://"+addr+"/", "").WithContext(ctx))
			if err == nil {
				_ = resp.Body.Close()
			}
		}()
		until(t, func() bool {
			select {
			case <-done:
				return true
			default:
				return running.Load() > 0
			}
		})
		cancel()
		<-done
		until(t, func() bool { return running.Load() == 0 })
	}
}
