package h2

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/gateway/wire"
)

// dropped are fields of a request that end here: they are about the connection,
// or the engine has them in a better form.
func dropped(name string) bool {
	switch name {
	case "Host", "Trailer", "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding",
		"Upgrade", "Http2-Settings", "Expect", ":protocol":
		return true
	}
	return false
}

// fill makes r the request of the exchange. It returns the status to refuse it
// with, or 0, and why.
func (s *stream) fill(r *http.Request, c *conn) (status int, reason string) {
	q := &s.x.Req
	q.Method, q.Target, q.Host = r.Method, r.RequestURI, r.Host
	q.Major, q.Minor = r.ProtoMajor, 0
	q.Remote, q.Local, q.TLS = c.remote, c.local, c.tls
	q.Size = int64(len(q.Method) + len(q.Target) + len(q.Host))
	for name := range r.Header {
		if !dropped(name) {
			s.names = append(s.names, name)
		}
	}
	slices.Sort(s.names) // a map has no order, and upstreams deserve one
	for _, name := range s.names {
		for _, v := range r.Header[name] {
			q.Header.Add(name, v)
			q.Size += int64(len(name) + len(v) + 4)
		}
	}
	if status, reason = checkRequest(r); status != 0 {
		return status, reason
	}
	if r.Method == http.MethodConnect {
		s.websocket(r)
		return 0, ""
	}
	if r.ProtoMajor == 3 && r.ContentLength < 0 {
		if err := peekBody(r); err != nil {
			return http.StatusBadRequest, err.Error()
		}
	}
	q.ContentLength = r.ContentLength
	if r.ContentLength != 0 {
		s.body = &body{src: r.Body, req: r, to: q, wait: s.srv.opts.BodyTimeout}
		control := http.NewResponseController(s.w)
		s.body.reading.expire = func() { _ = control.SetReadDeadline(past) }
		q.Body = s.body
	}
	return 0, ""
}

// websocket turns an extended CONNECT (RFC 8441) into the handshake that the
// same client would have made over HTTP/1.1. The stream is the tunnel's.
func (s *stream) websocket(r *http.Request) {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	q := &s.x.Req
	q.Method, q.Upgrade = http.MethodGet, r.Header.Get(":protocol")
	q.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	s.tunnel = true
}

// checkRequest refuses what two readers could understand differently. What
// concerns single fields was checked by the protocol's engine.
func checkRequest(r *http.Request) (status int, reason string) {
	switch {
	case !token(r.Method) || len(r.Method) > 32:
		return http.StatusBadRequest, "method is no token"
	case r.Method == http.MethodTrace, r.Method == http.MethodConnect && r.Header.Get(":protocol") != "websocket":
		return http.StatusMethodNotAllowed, "method " + r.Method
	case !validTarget(r.RequestURI) || r.RequestURI == "*" && r.Method != http.MethodOptions:
		return http.StatusBadRequest, "target is no path"
	case !validHost(r.Host):
		return http.StatusBadRequest, "host is missing or invalid"
	}
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return http.StatusBadRequest, "host differs from :authority"
	}
	if te := r.Header["Te"]; len(te) > 1 || len(te) == 1 && te[0] != "trailers" {
		return http.StatusBadRequest, "te is not trailers"
	}
	if lengths := r.Header["Content-Length"]; len(lengths) > 0 {
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if len(lengths) > 1 || err != nil || lengths[0][0] == '+' || n != r.ContentLength {
			return http.StatusBadRequest, "content-length is wrong"
		}
	}
	return 0, ""
}

func validTarget(t string) bool {
	if t == "*" {
		return true
	}
	if t == "" || t[0] != '/' {
		return false
	}
	for i := range len(t) {
		if t[i] <= ' ' || t[i] == 0x7f {
			return false
		}
	}
	return true
}

func validHost(h string) bool {
	for i := range len(h) {
		if b := h[i]; b <= ' ' || b >= 0x7f || strings.IndexByte(`/?#@\,"<>^|{}`+"`", b) >= 0 {
			return false
		}
	}
	return h != ""
}

func token(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, b) >= 0 {
			return false
		}
	}
	return s != ""
}

// body is a request body. It is not reused: whoever sends it upstream may still
// hold it when the exchange has moved on.
type body struct {
	src     io.Reader
	req     *http.Request
	wait    time.Duration
	reading guard

	mu   sync.Mutex
	to   *wire.Request // gets the trailers; nil when they were taken or the exchange is over
	over bool          // the exchange is: the stream is gone
}

func (b *body) Read(p []byte) (int, error) {
	if b.mu.Lock(); !b.over {
		b.reading.start(b.wait)
	}
	b.mu.Unlock()
	n, err := b.src.Read(p)
	b.reading.stop()
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.trailers()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &wire.Error{Side: wire.Client, Kind: wire.Timeout, Err: err}
	default:
		err = &wire.Error{Side: wire.Client, Kind: wire.Closed, Err: err}
	}
	return n, err
}

func (b *body) trailers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.to == nil {
		return
	}
	for name, values := range b.req.Trailer {
		for _, v := range values {
			b.to.Trailer.Add(name, v)
		}
	}
	b.to = nil
}

// detach is the end of the exchange: its request belongs to another one.
func (b *body) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to, b.over = nil, true
	b.reading.stop()
}
