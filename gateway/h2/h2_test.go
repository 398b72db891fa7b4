package h2

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/gateway/wire"
)

type handlerFunc func(*wire.Exchange)

func (f handlerFunc) Serve(x *wire.Exchange) { f(x) }

// text answers with a string.
func text(x *wire.Exchange, status int, s string) {
	resp := &x.Resp
	resp.Status, resp.ContentLength = status, int64(len(s))
	resp.Body = io.NopCloser(strings.NewReader(s))
	_, _ = x.Send(resp, nil)
}

// listen serves on a port of its own: h2c, or TLS with cfg.
func listen(t testing.TB, h handlerFunc, o Options, cfg *tls.Config) (*Server, string) {
	t.Helper()
	s := New(h, o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if cfg == nil {
					s.ServeConn(nc)
					return
				}
				tc := tls.Server(nc, cfg)
				if tc.Handshake() == nil {
					s.ServeTLS(tc)
				}
				_ = tc.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		wg.Wait()
	})
	return s, ln.Addr().String()
}

// plainClient speaks h2c with prior knowledge.
func plainClient(t testing.TB) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, url, src)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRequestAndAnswer(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		b, err := io.ReadAll(x.Req.Body)
		x.Resp.Header.Add("X-A", "1")
		x.Resp.Header.Add("x-a", "2")
		x.Resp.Header.Add("Connection", "close")
		x.Resp.Header.Add("Transfer-Encoding", "chunked")
		cl, _ := x.Req.Header.Lookup("content-length")
		text(x, 201, fmt.Sprintf("%s %s %s %d %q %v cl=%s te=%v x=%s", x.Req.Method, x.Req.Target, x.Req.Host, x.Req.Major, b, err,
			cl, x.Req.Header.Has("te"), x.Req.Header.Get("x-b")))
	}, Options{}, nil)
	r := newRequest(t, "POST", "http://"+addr+"/a%20b?c=d", "hello")
	r.Host = "api.test"
	r.Header.Set("X-B", "b")
	r.Header.Set("TE", "trailers")
	resp, got := get(t, plainClient(t), r)
	want := `POST /a%20b?c=d api.test 2 "hello" <nil> cl=5 te=true x=b`
	if got != want || resp.StatusCode != 201 || resp.ProtoMajor != 2 {
		t.Errorf("%d %q, want %q", resp.StatusCode, got, want)
	}
	if v := resp.Header.Values("X-A"); len(v) != 2 || resp.Header.Get("Connection") != "" || resp.Header.Get("Date") == "" {
		t.Errorf("header %v", resp.Header)
	}
	if ct, ok := resp.Header["Content-Type"]; ok {
		t.Errorf("a type was guessed: %q", ct)
	}
	if resp.ContentLength != int64(len(want)) {
		t.Errorf("length %d", resp.ContentLength)
	}
}

func TestFieldsAreInOrder(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		var b strings.Builder
		for name := range x.Req.Header.All() {
			b.WriteString(name + " ")
		}
		text(x, 200, b.String())
	}, Options{}, nil)
	c := plainClient(t)
	for range 5 {
		r := newRequest(t, "GET", "http://"+addr+"/", "")
		for _, n := range []string{"C", "A", "B", "D"} {
			r.Header.Set(n, "1")
		}
		if _, got := get(t, c, r); got != "A Accept-Encoding B C D User-Agent " {
			t.Fatalf("order %q", got)
		}
	}
}

func TestTrailersBothWays(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		_, _ = io.Copy(io.Discard, x.Req.Body)
		resp := &x.Resp
		resp.Status, resp.ContentLength = 200, -1
		resp.Body = io.NopCloser(strings.NewReader("body"))
		resp.Header.Add("Trailer", "X-End")
		resp.Trailer.Add("X-End", "got "+x.Req.Trailer.Get("x-sum"))
		_, _ = x.Send(resp, nil)
	}, Options{}, nil)
	r := newRequest(t, "POST", "http://"+addr+"/", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("abc")), -1
	r.Trailer = http.Header{"X-Sum": {"3"}}
	resp, got := get(t, plainClient(t), r)
	if got != "body" || resp.Trailer.Get("X-End") != "got 3" {
		t.Errorf("%q, trailer %v", got, resp.Trailer)
	}
}

func TestBodilessAnswers(t *testing.T) {
	closed := make(chan struct{}, 10)
	_, addr := listen(t, func(x *wire.Exchange) {
		resp := &x.Resp
		resp.Status, resp.ContentLength = 200, 7
		switch x.Req.Target {
		case "/204":
			resp.Status, resp.ContentLength = 204, 0
		case "/304":
			resp.Status = 304
		}
		resp.Body = closer{strings.NewReader("1234567"), closed}
		_, _ = x.Send(resp, nil)
	}, Options{}, nil)
	c := plainClient(t)
	for _, x := range []struct{ method, path, length string }{{"HEAD", "/", "7"}, {"GET", "/204", ""}, {"GET", "/304", ""}} {
		resp, got := get(t, c, newRequest(t, x.method, "http://"+addr+x.path, ""))
		<-closed
		if got != "" || resp.Header.Get("Content-Length") != x.length {
			t.Errorf("%s %s: %q, length %q", x.method, x.path, got, resp.Header.Get("Content-Length"))
		}
	}
}

type closer struct {
	io.Reader
	closed chan struct{}
}

func (c closer) Close() error { c.closed <- struct{}{}; return nil }

func TestFilterAndSent(t *testing.T) {
	sent := make(chan wire.Sent, 1)
	_, addr := listen(t, func(x *wire.Exchange) {
		resp := &x.Resp
		resp.Status, resp.ContentLength = 200, -1
		resp.Header.Add("A", "b")
		if x.Req.Target != "/none" {
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("one "), strings.NewReader("two")))
		}
		lasts := 0
		s, err := x.Send(resp, func(p []byte, last bool) ([]byte, error) {
			if last {
				lasts++
				return append(bytes.ToUpper(p), fmt.Sprintf("|%d", lasts)...), nil
			}
			return bytes.ToUpper(p), nil
		})
		if err != nil {
			t.Error(err)
		}
		sent <- s
	}, Options{}, nil)
	c := plainClient(t)
	for path, want := range map[string]string{"/": "ONE TWO|1", "/none": "|1"} {
		_, got := get(t, c, newRequest(t, "GET", "http://"+addr+path, ""))
		if s := <-sent; got != want || s.Body != int64(len(want)) || s.Total <= s.Body {
			t.Errorf("%s: %q, sent %+v", path, got, s)
		}
	}
}

func TestPiecesArriveAtOnce(t *testing.T) {
	pr, pw := io.Pipe()
	_, addr := listen(t, func(x *wire.Exchange) {
		x.Resp.Status, x.Resp.ContentLength, x.Resp.Body = 200, -1, pr
		_, _ = x.Send(&x.Resp, nil)
	}, Options{}, nil)
	resp, err := plainClient(t).Do(newRequest(t, "GET", "http://"+addr+"/", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, s := range []string{"first", "second"} {
		if _, err := io.WriteString(pw, s); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(s))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != s {
			t.Fatalf("%q, %v", b, err)
		}
	}
	_ = pw.Close()
	if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v at the end", n, err)
	}
}

func TestInform(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		var h wire.Header
		h.Add("Link", "</a.css>")
		if err := x.Inform(103, &h); err != nil {
			t.Error(err)
		}
		text(x, 200, "ok")
	}, Options{}, nil)
	hints := ""
	r := newRequest(t, "GET", "http://"+addr+"/", "")
	r = r.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints += fmt.Sprint(code, h.Get("Link"))
			return nil
		}}))
	resp, _ := get(t, plainClient(t), r)
	if hints != "103</a.css>" || resp.Header.Get("Link") != "" {
		t.Errorf("hints %q, then %v", hints, resp.Header)
	}
}

func TestBrokenAnswersResetTheStream(t *testing.T) {
	errs := make(chan *wire.Error, 10)
	_, addr := listen(t, func(x *wire.Exchange) {
		resp := &x.Resp
		resp.Status, resp.ContentLength = 200, 100
		switch x.Req.Target {
		case "/short":
			resp.Body = io.NopCloser(strings.NewReader("abc"))
		case "/long":
			resp.ContentLength = 2
			resp.Body = io.NopCloser(strings.NewReader("abc"))
		case "/fails":
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("abc"), failing{}))
		case "/panics":
			panic("oh")
		case "/nothing":
			return
		}
		if _, err := x.Send(resp, nil); err == nil {
			t.Errorf("%s: no error", x.Req.Target)
		}
	}, Options{OnError: func(_ net.Addr, err *wire.Error) { errs <- err }}, nil)
	c := plainClient(t)
	for _, path := range []string{"/short", "/long", "/fails", "/panics", "/nothing"} {
		resp, err := c.Do(newRequest(t, "GET", "http://"+addr+path, ""))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client took it for complete", path)
		}
	}
	if err := <-errs; err.Side != wire.Us || !strings.Contains(err.Error(), "oh") {
		t.Errorf("the panic was reported as %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("upstream broke") }

func TestCancelEndsContext(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error)
	_, addr := listen(t, func(x *wire.Exchange) {
		close(started)
		<-x.Context.Done()
		ended <- x.Context.Err()
	}, Options{}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-started
		cancel()
	}()
	if _, err := plainClient(t).Do(newRequest(t, "GET", "http://"+addr+"/", "").WithContext(ctx)); err == nil {
		t.Error("no error")
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.com"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		text(x, 200, fmt.Sprint(x.Req.TLS.ServerName, x.Req.Remote.IsValid(), x.Req.Local.Port() != 0))
	}, Options{}, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}})
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.com"}}
	defer tr.CloseIdleConnections()
	resp, got := get(t, &http.Client{Transport: tr}, newRequest(t, "GET", "https://"+addr+"/", ""))
	if got != "a.comtrue true" || resp.ProtoMajor != 2 {
		t.Errorf("%q over HTTP/%d", got, resp.ProtoMajor)
	}
}

func TestShutdown(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	s, addr := listen(t, func(x *wire.Exchange) {
		close(started)
		<-release
		text(x, 200, "finished")
	}, Options{}, nil)
	got := make(chan string)
	go func() {
		resp, err := plainClient(t).Do(newRequest(t, "GET", "http://"+addr+"/", ""))
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- string(b)
	}()
	<-started
	done := make(chan error)
	go func() { done <- s.Shutdown(context.Background()) }()
	close(release)
	if b := <-got; b != "finished" {
		t.Error(b)
	}
	if err := <-done; err != nil || s.Conns() != 0 {
		t.Errorf("%v, %d connections", err, s.Conns())
	}
}

// raw is a client that can do what no decent one does.
type raw struct {
	t  *testing.T
	nc net.Conn
	fr *http2.Framer
	b  bytes.Buffer
	e  *hpack.Encoder
}

func dialRaw(t *testing.T, addr string, settings ...http2.Setting) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	r := &raw{t: t, nc: nc, fr: http2.NewFramer(nc, nc)}
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.e = hpack.NewEncoder(&r.b)
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	return r
}

func (r *raw) block(fields ...string) []byte {
	r.b.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := r.e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			r.t.Fatal(err)
		}
	}
	return r.b.Bytes()
}

func (r *raw) open(id uint32, end bool, fields ...string) error {
	return r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block(fields...), EndHeaders: true, EndStream: end})
}

// outcome is the status that stream id is answered with, or what went wrong.
func (r *raw) outcome(id uint32) string {
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = r.fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "goaway " + f.ErrCode.String()
			}
		}
	}
}

func TestStrictness(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		_, _ = io.Copy(io.Discard, x.Req.Body)
		text(x, 200, "")
	}, Options{HeaderBytes: 4096}, nil)
	base := []string{":method", "GET", ":scheme", "http", ":authority", "a.com", ":path", "/"}
	with := func(pairs ...string) []string {
		out := append([]string{}, base...)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i][0] == ':' {
				for j := 0; j < len(out); j += 2 {
					if out[j] == pairs[i] {
						out[j+1] = pairs[i+1]
					}
				}
				continue
			}
			out = append(out, pairs[i], pairs[i+1])
		}
		return out
	}
	const protocol = "reset PROTOCOL_ERROR"
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf("x-%d", i), strings.Repeat("x", 200))
	}
	for _, x := range []struct {
		fields []string
		want   string
	}{
		{with(), "200"},
		{with("host", "a.com"), "200"},
		{with("host", "b.com"), protocol},
		{with("host", "a.com", "host", "a.com"), protocol},
		{with(":authority", ""), "400"},
		{with(":authority", "u@a.com"), protocol},
		{with(":authority", "a.com/x"), protocol},
		{with(":path", "/a b"), "400"},
		{with(":path", "a"), protocol},
		{with(":path", "*"), "400"},
		{with(":method", "OPTIONS", ":path", "*"), "200"},
		{with(":method", "TRACE"), "405"},
		{with(":method", "GE T"), "400"},
		{with("connection", "close"), "400"},
		{with("transfer-encoding", "chunked"), "400"},
		{with("upgrade", "websocket"), "400"},
		{with("te", "gzip"), "400"},
		{with("te", "trailers"), "200"},
		{with("content-length", "5"), "400"},
		{with("content-length", "0", "content-length", "0"), "400"},
		{with("content-length", "-1"), "400"},
		{with("X-Upper", "1"), protocol},
		{with("x-a", "b\r\nc"), protocol},
		{with("x-a", "b\x00"), protocol},
		{with("x-a", strings.Repeat("x", 5000)), "goaway COMPRESSION_ERROR"},
		{with(many...), "431"},
		{[]string{":method", "CONNECT", ":authority", "a.com:443"}, "405"},
		{[]string{":method", "CONNECT", ":scheme", "http", ":authority", "a.com", ":path", "/", ":protocol", "websocket"}, protocol},
	} {
		r := dialRaw(t, addr)
		if err := r.open(1, true, x.fields...); err != nil {
			t.Fatal(err)
		}
		if got := r.outcome(1); got != x.want {
			t.Errorf("%.200q: %s, want %s", x.fields, got, x.want)
		}
		_ = r.nc.Close()
	}
}

func TestRefusalsAreAnswered(t *testing.T) {
	_, addr := listen(t, func(*wire.Exchange) { t.Error("served") }, Options{
		BadRequest: func(x *wire.Exchange, status int) *wire.Response {
			resp := &wire.Response{Status: status, ContentLength: -1}
			resp.Header.Add("X-Target", x.Req.Target)
			return resp
		}}, nil)
	resp, _ := get(t, plainClient(t), newRequest(t, "TRACE", "http://"+addr+"/x", ""))
	if resp.StatusCode != 405 || resp.Header.Get("X-Target") != "/x" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestRapidResetEndsTheConnection(t *testing.T) {
	var running, most atomic.Int64
	s, addr := listen(t, func(x *wire.Exchange) {
		n := running.Add(1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-x.Context.Done()
		running.Add(-1)
	}, Options{Streams: 10, Resets: 50}, nil)
	r := dialRaw(t, addr)
	go func() { // what the server says is of no interest
		_, _ = io.Copy(io.Discard, r.nc)
	}()
	var err error
	opened := 0
	for ; err == nil && opened < 1_000_000; opened++ {
		id := uint32(2*opened + 1)
		if err = r.open(id, true, ":method", "GET", ":scheme", "http", ":authority", "a.com", ":path", "/"); err == nil {
			err = r.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	}
	if err == nil {
		t.Fatalf("%d resets went through", opened)
	}
	if m := most.Load(); m > 10 {
		t.Errorf("%d requests ran at once", m)
	}
	until(t, func() bool { return s.Conns() == 0 && running.Load() == 0 })
}

// until polls for what takes other goroutines a moment.
func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 20_000 {
		if done() {
			return
		}
		<-tick.C
	}
	t.Fatal("it never came to that")
}

func TestContinuationFloodEndsTheConnection(t *testing.T) {
	s, addr := listen(t, func(*wire.Exchange) { t.Error("served") }, Options{}, nil)
	r := dialRaw(t, addr)
	go func() { _, _ = io.Copy(io.Discard, r.nc) }()
	err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true,
		BlockFragment: r.block(":method", "GET", ":scheme", "http", ":authority", "a.com", ":path", "/")})
	sent := 0
	for err == nil && sent < 64<<20 {
		b := r.block("x-"+fmt.Sprint(sent), strings.Repeat("x", 8000))
		sent += len(b)
		err = r.fr.WriteContinuation(1, false, b)
	}
	if err == nil {
		t.Fatalf("%d bytes of header went through", sent)
	}
	until(t, func() bool { return s.Conns() == 0 })
}

func TestClientThatOpensNoWindow(t *testing.T) {
	failed := make(chan error, 1)
	_, addr := listen(t, func(x *wire.Exchange) {
		x.Resp.Status, x.Resp.ContentLength = 200, -1
		x.Resp.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))
		_, err := x.Send(&x.Resp, nil)
		failed <- err
	}, Options{SendTimeout: 500 * time.Millisecond}, nil)
	r := dialRaw(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err := r.open(1, true, ":method", "GET", ":scheme", "http", ":authority", "a.com", ":path", "/"); err != nil {
		t.Fatal(err)
	}
	if got := r.outcome(1); got != "200" {
		t.Error(got)
	}
	if we := new(wire.Error); !errors.As(<-failed, &we) || we.Side != wire.Client || we.Kind != wire.Timeout {
		t.Errorf("%+v", we)
	}
}

func TestSlowBody(t *testing.T) {
	failed := make(chan error, 1)
	_, addr := listen(t, func(x *wire.Exchange) {
		_, err := io.ReadAll(x.Req.Body)
		failed <- err
		text(x, 408, "")
	}, Options{BodyTimeout: 20 * time.Millisecond}, nil)
	r := dialRaw(t, addr)
	if err := r.open(1, false, ":method", "POST", ":scheme", "http", ":authority", "a.com", ":path", "/"); err != nil {
		t.Fatal(err)
	}
	if we := new(wire.Error); !errors.As(<-failed, &we) || we.Side != wire.Client || we.Kind != wire.Timeout {
		t.Errorf("%+v", we)
	}
	if got := r.outcome(1); got != "408" {
		t.Error(got)
	}
}

func TestSlotIsKept(t *testing.T) {
	var made atomic.Int64
	_, addr := listen(t, func(x *wire.Exchange) {
		if x.Slot == nil {
			made.Add(1)
			x.Slot = new(int)
		}
		if x.Req.Header.Has("X-Old") || x.Resp.Status != 0 || x.Req.Trailer.Len() > 0 {
			t.Error("something of another request is left")
		}
		x.Req.Header.Add("X-Old", "1")
		text(x, 200, "")
	}, Options{}, nil)
	c := plainClient(t)
	for range 50 {
		get(t, c, newRequest(t, "GET", "http://"+addr+"/", ""))
	}
	if made.Load() == 50 {
		t.Error("exchanges are not reused")
	}
}

// Extended CONNECT is switched on by an environment variable that is read when
// the process starts, so this test runs itself once more.
func TestWebSocketTunnel(t *testing.T) {
	const on = "http2xconnect=1"
	if !strings.Contains(os.Getenv("GODEBUG"), on) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketTunnel$")
		cmd.Env = append(os.Environ(), "GODEBUG="+on)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	_, addr := listen(t, func(x *wire.Exchange) {
		if x.Req.Method != "GET" || x.Req.Upgrade != "websocket" || len(x.Req.Header.Get("Sec-WebSocket-Key")) != 24 {
			t.Errorf("%s, upgrade %q, header %v", x.Req.Method, x.Req.Upgrade, x.Req.Header)
		}
		near, far := net.Pipe()
		go func() { // the upstream: an echo that ends with a word of its own
			b := make([]byte, 5)
			_, _ = io.ReadFull(far, b)
			_, _ = far.Write(append(b, " bye"...))
			_ = far.Close()
		}()
		x.Resp.Status = 101
		x.Resp.Header.Add("Sec-WebSocket-Accept", "x")
		sent, err := x.Tunnel(&x.Resp, near)
		if err != nil || sent.Body != 9 {
			t.Errorf("%+v, %v", sent, err)
		}
	}, Options{}, nil)
	pr, pw := io.Pipe()
	r := newRequest(t, "CONNECT", "http://"+addr+"/chat", "")
	r.Body = pr
	r.Header.Set(":protocol", "websocket")
	resp, err := plainClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Sec-WebSocket-Accept") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if _, err := io.WriteString(pw, "hello"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello bye" {
		t.Errorf("%q, %v", b, err)
	}
	_ = pw.Close()
}

func TestTunnelNeedsConnect(t *testing.T) {
	_, addr := listen(t, func(x *wire.Exchange) {
		near, far := net.Pipe()
		defer far.Close()
		x.Resp.Status = 101
		if _, err := x.Tunnel(&x.Resp, near); err == nil {
			t.Error("a GET became a tunnel")
		}
	}, Options{}, nil)
	resp, err := plainClient(t).Do(newRequest(t, "GET", "http://"+addr+"/", ""))
	if err == nil {
		_ = resp.Body.Close()
		t.Error("it was answered")
	}
}

func BenchmarkGet(b *testing.B) {
	_, addr := listen(b, func(x *wire.Exchange) { text(x, 200, "hello") }, Options{}, nil)
	c := plainClient(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := c.Get("http://" + addr + "/")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
