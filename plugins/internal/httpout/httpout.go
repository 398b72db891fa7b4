// Package httpout makes the calls over HTTP that plugins need beside the
// request's own way: with a time limit, kept connections, certificates verified
// or not, and a bound on what is read. Redirects are not followed, no proxy of
// the environment is used.
//
// It does not know who is called, nor why.
package httpout

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// Options of a client. Clients with the same options share their connections.
type Options struct {
	Timeout     time.Duration // of a whole call; 0: only the context's
	Verify      bool          // the server's certificate
	Idle        int           // connections kept for each server; 0: 5
	IdleTimeout time.Duration // 0: 60 s
	NoKeepalive bool
	MaxBody     int64 // of an answer; 0: 1 MiB
}

// Client calls out. Safe for concurrent use.
type Client struct {
	http  *http.Client
	limit int64
}

// Open returns the client for o, made on first use, and its release.
func Open(shared *plugins.Shared, o Options) (*Client, func()) {
	return plugins.Share(shared, fmt.Sprintf("httpout/%+v", o), func() *Client { return newClient(o) },
		func(c *Client) { c.http.CloseIdleConnections() })
}

const maxHeader = 64 << 10 // bytes of an answer's header

func newClient(o Options) *Client {
	if o.Idle == 0 {
		o.Idle = 5
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = time.Minute
	}
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: !o.Verify, MinVersion: tls.VersionTLS12},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    o.Idle,
		IdleConnTimeout:        o.IdleTimeout,
		DisableKeepAlives:      o.NoKeepalive,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	return &Client{limit: o.MaxBody, http: &http.Client{Transport: t, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // the body was longer than MaxBody
}

// Do makes a call. header may be nil; a Host in it is the one sent. The text of
// errors does not have the query of the address, which may hold a secret.
//
// The call may end before all of the request is sent, and what is left is then
// still read: header and body must not be texts of a connection that is used
// again. Of ctx only its end is used, so a *plugins.Ctx may be given.
func (c *Client) Do(ctx context.Context, method, address string, header http.Header, body []byte) (*Answer, error) {
	if request, ok := ctx.(*plugins.Ctx); ok {
		ctx = request.Context // which outlives the request
	}
	own, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	r, err := http.NewRequestWithContext(own, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, bare(err)
	}
	r.Header["User-Agent"] = nil // none, rather than Go's
	for name, values := range header {
		if wire.EqualFold(name, "Host") && len(values) > 0 {
			r.Host = values[0]
			continue
		}
		r.Header[name] = values
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, r.URL.Host, bare(err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, c.limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, r.URL.Host, bare(err))
	}
	cut := int64(len(text)) > c.limit
	if cut {
		text = text[:c.limit]
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: text, Cut: cut}, nil
}

// bare takes the address off an error.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
