package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// http2Peer talks HTTP/2 to an upstream, streaming both ways (gRPC).
type http2Peer struct {
	opts *PeerOptions
	t    *http2.Transport
}

// connectWait is the context key of the connect time-out.
type connectWait struct{}

func newHTTP2Peer(o *PeerOptions) *http2Peer {
	p := &http2Peer{opts: o}
	p.t = &http2.Transport{
		AllowHTTP:          true,
		DisableCompression: true,
		DialTLSContext:     p.dial,
		MaxHeaderListSize:  maxResponseHead,
		IdleConnTimeout:    o.IdleTimeout,
		ReadIdleTimeout:    30 * time.Second,
	}
	return p
}

func (p *http2Peer) close() { p.t.CloseIdleConnections() }

// dial connects; failures are *Error of Kind Connect or Handshake.
func (p *http2Peer) dial(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
	wait, _ := ctx.Value(connectWait{}).(time.Duration)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(orMinute(wait)))
	defer cancel()
	d := net.Dialer{KeepAlive: -1}
	nc, err := d.DialContext(ctx, "tcp", p.opts.Addr)
	if err != nil {
		return nil, dialError(ctx, p.opts.Addr, Connect, err)
	}
	if p.opts.TLS == nil {
		return nc, nil
	}
	conf := p.opts.TLS.Clone()
	conf.NextProtos = []string{"h2"}
	t := tls.Client(nc, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, dialError(ctx, p.opts.Addr, Handshake, err)
	}
	if got := t.ConnectionState().NegotiatedProtocol; got != "h2" {
		nc.Close()
		return nil, dialError(ctx, p.opts.Addr, Handshake, fmt.Errorf("protocol %q was negotiated instead of h2", got))
	}
	return t, nil
}

// errSlow is why an exchange was canceled by its read time-out.
var errSlow = errors.New("upstream timed out")

func (p *http2Peer) do(x *Exchange, out *Outgoing, resp *Response) (Timing, error) {
	start := nano()
	resp.reset()
	parent := x.Context
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, connectWait{}, out.Connect))
	wait := time.Duration(orMinute(out.Read))
	timer := time.AfterFunc(wait, func() { cancel(errSlow) })
	tm := Timing{Reused: true}
	req, err := p.request(p.trace(ctx, x, &tm, start), x, out, timer, wait)
	var hr *http.Response
	if err == nil {
		hr, err = p.t.RoundTrip(req)
	}
	tm.Header = time.Duration(nano() - start)
	up := uploadOf(req)
	if err != nil {
		up.end()
		timer.Stop()
		cancel(nil)
		return tm, p.explain(ctx, parent, err)
	}
	resp.Status, resp.ContentLength = hr.StatusCode, hr.ContentLength
	copyFields(&resp.Header, hr.Header)
	// The transport does not notice the end of ctx while it waits for our body.
	stop := context.AfterFunc(ctx, func() { hr.Body.Close() })
	resp.Body = &http2Body{stop: stop, r: hr, resp: resp, up: up, p: p, ctx: ctx, parent: parent, cancel: cancel, timer: timer, wait: wait}
	return tm, nil
}

func (p *http2Peer) trace(ctx context.Context, x *Exchange, tm *Timing, start int64) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			if !i.Reused {
				tm.Reused, tm.Connect = false, time.Duration(nano()-start)
			}
		},
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 100 || x.Sender == nil {
				return nil
			}
			var hd Header
			copyFields(&hd, http.Header(h))
			return x.Inform(code, &hd)
		},
	})
}

func (p *http2Peer) request(ctx context.Context, x *Exchange, out *Outgoing, timer *time.Timer, wait time.Duration) (*http.Request, error) {
	u, err := url.ParseRequestURI(string(appendTarget(nil, out.URI)))
	if err != nil {
		return nil, &Error{Side: Us, Kind: Malformed, Err: err}
	}
	u.Scheme, u.Host = "http", p.opts.Addr
	if p.opts.TLS != nil {
		u.Scheme = "https"
	}
	u.Opaque = "//" + out.Host + string(appendTarget(nil, out.URI)) // as written, not as parsed
	req := (&http.Request{Method: out.Method, URL: u, Host: out.Host, Header: http.Header{"User-Agent": {""}},
		Proto: "HTTP/2.0", ProtoMajor: 2}).WithContext(ctx)
	for _, f := range out.Header.fieldsOf() {
		k := hop(f.Name)
		if k != hopNone && k != hopTE || !all(f.Name, inToken) || !clean(f.Value) {
			continue
		}
		name := http.CanonicalHeaderKey(f.Name)
		if name == "Trailer" {
			announce(req, f.Value)
			continue
		}
		if name == "User-Agent" {
			req.Header[name] = nil
		}
		req.Header[name] = append(req.Header[name], f.Value)
	}
	asGRPC(req.Header)
	return req, p.body(req, x, out, timer, wait)
}

// asGRPC marks a request as one of gRPC, whatever the client called its body:
// nobody else speaks HTTP/2 to upstreams.
func asGRPC(h http.Header) {
	if ct := h["Content-Type"]; len(ct) != 1 || !strings.HasPrefix(ct[0], "application/grpc") || strings.HasPrefix(ct[0], "application/grpc-web") {
		h["Content-Type"] = []string{"application/grpc"}
	}
	h["Te"] = []string{"trailers"}
}

func announce(req *http.Request, names string) {
	for tok, rest := nextToken(names); tok != "" || rest != ""; tok, rest = nextToken(rest) {
		if tok != "" && hop(tok) == hopNone && !protected(tok) {
			if req.Trailer == nil {
				req.Trailer = http.Header{}
			}
			req.Trailer[http.CanonicalHeaderKey(tok)] = nil
		}
	}
}

// body sets the request's body. The transport reads it on a goroutine of its
// own, perhaps longer than the exchange lasts.
func (p *http2Peer) body(req *http.Request, x *Exchange, out *Outgoing, timer *time.Timer, wait time.Duration) error {
	var src io.Reader
	switch b := out.Body.(type) {
	case nil, noBody:
		return nil
	case *bytes.Reader:
		data := bytes.Clone(peekReader(b))
		src, req.ContentLength = bytes.NewReader(data), int64(len(data))
	case *reqBody:
		if b.eof.Load() {
			return nil
		}
		if data, ok := b.whole(); ok {
			src, req.ContentLength = bytes.NewReader(bytes.Clone(data)), int64(len(data))
			b.skip()
			break
		}
		l, err := b.c.lend(b)
		if err != nil {
			return err
		}
		src, req.ContentLength = l, out.ContentLength
	case *rejoined:
		l, err := b.lend()
		if err != nil {
			return err
		}
		src, req.ContentLength = l, out.ContentLength
	default:
		src, req.ContentLength = b, out.ContentLength
	}
	req.Body = &http2Upload{src: src, req: req, trailer: out.Trailer, timer: timer, wait: wait}
	return nil
}

// http2Upload hands a body to the transport; the read time-out counts from its
// last piece, and the trailer is taken over at its end.
type http2Upload struct {
	src   io.Reader
	req   *http.Request
	timer *time.Timer
	wait  time.Duration

	mu      sync.Mutex
	trailer *Header // of the client's request; nil: none, or the exchange has ended
}

// uploadOf is the body of a request that was made here; nil for none.
func uploadOf(req *http.Request) *http2Upload {
	if req == nil {
		return nil
	}
	b, _ := req.Body.(*http2Upload)
	return b
}

// end takes the client's request away: it is reused.
func (b *http2Upload) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trailer = nil
}

func (b *http2Upload) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.timer.Reset(b.wait)
	if err == io.EOF {
		b.takeTrailer()
	}
	return n, err
}

func (b *http2Upload) takeTrailer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.trailer.fieldsOf() {
		k := http.CanonicalHeaderKey(f.Name)
		if _, ok := b.req.Trailer[k]; ok {
			b.req.Trailer[k] = append(b.req.Trailer[k], strings.Clone(f.Value))
		}
	}
}

// Close makes a pending Read return, where the source can do that.
func (b *http2Upload) Close() error {
	if c, ok := b.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func copyFields(h *Header, from http.Header) {
	for name, values := range from {
		if hop(name) != hopNone || name == "Trailer" {
			continue
		}
		for _, v := range values {
			h.Add(name, v)
		}
	}
}

// http2Body is the body of a response.
type http2Body struct {
	up          *http2Upload
	r           *http.Response
	resp        *Response
	p           *http2Peer
	ctx, parent context.Context
	cancel      context.CancelCauseFunc
	timer       *time.Timer
	wait        time.Duration
	stop        func() bool
	err         error
}

func (b *http2Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.timer.Reset(b.wait)
	n, err := b.r.Body.Read(p)
	switch {
	case err == io.EOF:
		b.err = err
		copyFields(&b.resp.Trailer, b.r.Trailer)
	case err != nil:
		b.err = b.p.explain(b.ctx, b.parent, err)
	}
	return n, b.err
}

func (b *http2Body) Close() error {
	b.timer.Stop()
	b.stop()
	b.cancel(nil) // first: Close may wait for the upload otherwise
	err := b.r.Body.Close()
	b.up.end()
	if b.err == nil {
		b.err = errors.New("body was closed")
	}
	return err
}

// explain turns a failure into an *Error.
func (p *http2Peer) explain(ctx, parent context.Context, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = &Error{Side: Upstream, Kind: Closed, Err: fmt.Errorf("exchange with %s: %w", p.opts.Addr, err)}
	var se http2.StreamError
	switch {
	case parent.Err() != nil:
		e.Side, e.Kind = Client, Aborted
	case context.Cause(ctx) == errSlow:
		e.Kind = Timeout
		e.Err = fmt.Errorf("exchange with %s: %w", p.opts.Addr, errSlow)
	case errors.As(err, &se) && se.Code == http2.ErrCodeProtocol:
		e.Kind = Malformed
	}
	return e
}
