package wire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	shortHead = "GET /hello HTTP/1.1\r\nHost: localhost:9080\r\n\r\n"
	longHead  = "GET /api/v1/users/42/orders?page=3&sort=date HTTP/1.1\r\n" +
		"Host: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Referer: https://www.example.com/api/v1/users/42/orders?page=2\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; lang=en\r\n" +
		"Connection: keep-alive\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Cache-Control: max-age=0\r\n" +
		"X-Request-Id: 7b1c8a2e-3f44-4d67-9a55-1c2d3e4f5a6b\r\n" +
		"Authorization: Bearer 0123456789abcdef\r\n\r\n"
)

func BenchmarkParse(b *testing.B) {
	lim := headLimits{first: 8 << 10, line: 8 << 10, total: 32 << 10, fields: 100}
	for name, head := range map[string]string{"short": shortHead, "twelve": longHead} {
		b.Run(name, func(b *testing.B) {
			in := []byte(head)
			var r Request
			var f framing
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				r.Header.Reset()
				f = framing{}
				var s headScan
				n, v := s.find(in, &lim)
				if v != nil || n != len(in) {
					b.Fatal(n, v)
				}
				if v := r.parse(in, &f); v != nil {
					b.Fatal(v)
				}
			}
		})
	}
}

func BenchmarkHeaderGet(b *testing.B) {
	var r Request
	var f framing
	if v := r.parse([]byte(longHead), &f); v != nil {
		b.Fatal(v)
	}
	for _, name := range []string{"user-agent", "authorization", "x-absent"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = r.Header.Get(name)
			}
		})
	}
}

// outSlot is how a handler keeps its Outgoing from being allocated per request.
type outSlot struct{ out Outgoing }

type lean struct{ peer *Peer }

func (l lean) Serve(x *Exchange) {
	s, ok := x.Slot.(*outSlot)
	if !ok {
		s = new(outSlot)
		x.Slot = s
	}
	r := &x.Req
	r.Header.Set("X-Real-IP", "127.0.0.1")
	r.Header.Set("X-Forwarded-For", "127.0.0.1")
	s.out = Outgoing{Method: r.Method, URI: r.Target, Host: r.Host, Header: &r.Header, Body: r.Body,
		ContentLength: r.ContentLength, Trailer: &r.Trailer, Connect: time.Minute, Send: time.Minute, Read: time.Minute}
	_, err := l.peer.Do(x, &s.out, &x.Resp)
	l.respond(x, err)
}

func (l lean) Resume(x *Exchange) {
	_, err := x.Answer()
	l.respond(x, err)
}

func (lean) respond(x *Exchange, err error) {
	switch {
	case err == ErrPending:
	case err != nil:
		_, _ = x.Send(&Response{Status: 502}, nil)
	default:
		_, _ = x.Send(&x.Resp, nil)
	}
}

// dull answers every request with the same bytes, without allocating.
func dull(t testing.TB, answer string) string {
	return raw(t, func(nc net.Conn, _ *bufio.Reader) {
		_ = nc.SetDeadline(time.Time{})
		buf, out := make([]byte, 4096), []byte(answer)
		for {
			if _, err := nc.Read(buf); err != nil {
				return
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	})
}

// proxied sets up a kept connection through a lean proxy and returns one exchange over it.
func proxied(t testing.TB, engine, request, answer string) (exchange func()) {
	peer := NewPeer(PeerOptions{Addr: dull(t, answer), Idle: 4, IdleTimeout: time.Minute})
	addr := serve(t, &Server{Handler: lean{peer}, Engine: engine, Requests: -1})
	t.Cleanup(peer.Close) // before the server's cleanup: runs last
	c := dial(t, addr)
	_ = c.SetDeadline(time.Time{})
	c.send(request)
	r, _ := c.response("GET")
	if r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	buf, in := make([]byte, 4096), []byte(request)
	return func() {
		if _, err := c.Write(in); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	helloAnswer   = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nServer: dull\r\n\r\nhello world\n"
	chunkedAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nhello world\n\r\n0\r\n\r\n"
)

func BenchmarkProxy(b *testing.B) {
	for _, engine := range []string{Loops, Parked, Plain} {
		for name, msg := range map[string][2]string{
			"short":   {shortHead, helloAnswer},
			"twelve":  {longHead, helloAnswer},
			"chunked": {shortHead, chunkedAnswer},
			"post":    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", helloAnswer},
		} {
			b.Run(engine+"/"+name, func(b *testing.B) {
				exchange := proxied(b, engine, msg[0], msg[1])
				b.ReportAllocs()
				for b.Loop() {
					exchange()
				}
			})
		}
	}
}

// TestNoAllocations holds the engine to none per proxied request.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		return // the race detector allocates
	}
	for name, msg := range map[string][2]string{
		"short":   {shortHead, helloAnswer},
		"twelve":  {longHead, helloAnswer},
		"chunked": {shortHead, chunkedAnswer},
		"post":    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", helloAnswer},
	} {
		exchange := proxied(t, Loops, msg[0], msg[1])
		if n := testing.AllocsPerRun(2000, exchange); n >= 0.5 {
			t.Errorf("%s: %.2f allocations per request", name, n)
		}
	}
}

// FuzzRequest compares what the parser accepts with what net/http makes of it.
func FuzzRequest(f *testing.F) {
	for _, e := range readTable(f, "testdata/requests.txt") {
		f.Add([]byte(e.raw))
	}
	f.Add([]byte(longHead))
	f.Add([]byte("GET http://0%80 HTTP/1.0\r\nHost: a\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) { compareRequest(t, in) })
}

func compareRequest(t *testing.T, in []byte) {
	var s headScan
	var r Request
	var fr framing
	lim := headLimits{first: 8 << 10, line: 8 << 10, total: 32 << 10, fields: 256}
	n, v := s.find(in, &lim)
	if v != nil || n == 0 {
		return
	}
	head := []byte(string(in[:n]))
	if v := r.parse(head, &fr); v != nil {
		return
	}
	std, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(in))))
	if err != nil {
		if known(&r, err) {
			return
		}
		t.Fatalf("net/http refuses what we take: %v\n%q", err, in)
	}
	if std.Method != r.Method || std.ProtoMinor != r.Minor {
		t.Fatalf("method %q %d, net/http %q %d", r.Method, r.Minor, std.Method, std.ProtoMinor)
	}
	// net/http decodes a host within an absolute target; here it stays as it was
	// sent, as in the Host field, and so matches no other.
	if std.Host != r.Host && r.Target != "*" && !strings.Contains(r.Host, "%") {
		t.Fatalf("host %q, net/http %q in %q", r.Host, std.Host, in)
	}
	if got := std.URL.RequestURI(); strings.HasPrefix(std.RequestURI, "/") && std.RequestURI != r.Target {
		t.Fatalf("target %q, net/http %q (%q)", r.Target, std.RequestURI, got)
	}
	if std.ContentLength != r.ContentLength {
		t.Fatalf("length %d, net/http %d in %q", r.ContentLength, std.ContentLength, in)
	}
	for name, value := range r.Header.All() {
		if hop(name) == hopTE {
			continue
		}
		found := false
		for _, sv := range std.Header.Values(name) {
			found = found || sv == value
		}
		if !found {
			t.Fatalf("field %q: %q, net/http %q", name, value, std.Header.Values(name))
		}
	}
	if r.ContentLength != 0 {
		compareBody(t, &r, std, in[n:])
	}
}

// known lists the differences that are meant: where net/http is the stricter
// one without security at stake.
func known(r *Request, err error) bool {
	s := err.Error()
	return strings.Contains(s, "invalid URL escape") || // %zz in a target is the upstream's business
		strings.Contains(s, "parse ") || // so is what url.Parse thinks of a path or authority
		strings.Contains(s, "malformed MIME header") && strings.HasPrefix(s, "malformed MIME header line: :")
}

// compareBody checks that both sides find the same end of the body.
func compareBody(t *testing.T, r *Request, std *http.Request, in []byte) {
	if r.ContentLength > 0 {
		return
	}
	var c chunkReader
	var tr Header
	var got []byte
	for at := 0; at < len(in) && c.state != chunkDone; {
		data, used, err := c.next(in[at:], &tr)
		if err != nil {
			return
		}
		got = append(got, data...)
		at += used
	}
	if c.state != chunkDone {
		return
	}
	want, err := io.ReadAll(std.Body)
	if err != nil {
		if s := err.Error(); strings.Contains(s, "excessive chunked") || strings.Contains(s, "trailer header") || strings.Contains(s, "malformed MIME") {
			return
		}
		t.Fatalf("net/http refuses a body that we take: %v in %q", err, in)
	}
	if string(want) != string(got) {
		t.Fatalf("body %q, net/http %q in %q", got, want, in)
	}
}

// FuzzResponse checks that response heads never panic and agree with net/http.
func FuzzResponse(f *testing.F) {
	for _, e := range readTable(f, "testdata/responses.txt") {
		f.Add([]byte(e.raw))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var s headScan
		n, v := s.find(in, &responseLimits)
		if v != nil || n == 0 {
			return
		}
		var r Response
		var fr framing
		if _, v := r.parse([]byte(string(in[:n])), &fr); v != nil {
			return
		}
		std, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(in))), nil)
		if err != nil {
			t.Fatalf("net/http refuses what we take: %v\n%q", err, in)
		}
		if std.StatusCode != r.Status {
			t.Fatalf("status %d, net/http %d", r.Status, std.StatusCode)
		}
		if fr.chunked != (len(std.TransferEncoding) > 0) && bodyAllowed(r.Status) {
			t.Fatalf("chunked %v, net/http %v in %q", fr.chunked, std.TransferEncoding, in)
		}
		if fr.length >= 0 && std.ContentLength != fr.length && bodyAllowed(r.Status) {
			t.Fatalf("length %d, net/http %d in %q", fr.length, std.ContentLength, in)
		}
	})
}

func bodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }

// FuzzChunks checks that a chunked body reads the same however it is cut.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(3))
	f.Add([]byte("1;a=b\r\nx\r\n0\r\nT: 1\r\n\r\nrest"), uint8(1))
	f.Add([]byte("ffffffffffffffff\r\n"), uint8(7))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		a, aUsed, aErr := readChunks(in, len(in))
		b, bUsed, bErr := readChunks(in, int(step)+1)
		if string(a) != string(b) || (aErr == nil) != (bErr == nil) || aErr == nil && aUsed != bUsed {
			t.Fatalf("at once %q, %v, %d; in steps %q, %v, %d", a, aErr, aUsed, b, bErr, bUsed)
		}
		var c chunkReader
		framed, size, err := c.span(in)
		if err == nil && framed > 0 && (aErr != nil || framed != aUsed || size != len(a)) {
			t.Fatalf("span %d, %d; read %d, %d", framed, size, aUsed, len(a))
		}
	})
}

func readChunks(in []byte, step int) (body []byte, used int, err error) {
	var c chunkReader
	var tr Header
	for used < len(in) && c.state != chunkDone {
		data, n, err := c.next(in[used:min(len(in), used+step)], &tr)
		body = append(body, data...)
		used += n
		if err != nil {
			return body, used, err
		}
	}
	return body, used, nil
}
