// Package httpout is how plugins call an HTTP service: one request, one answer,
// within a time, with a bound on what is read, over connections that instances
// with the same options share. Redirects are not followed, no proxy is used,
// and certificates are verified unless the options say otherwise.
//
// It does not know who is called, nor what for.
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

	"golang.org/x/net/http/httpguts"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// Options are of the connections; instances with the same share them.
type Options struct {
	Insecure    bool          // certificates are not verified
	KeepAlive   bool          // connections are used again
	IdleTimeout time.Duration // of connections in the pool
	Pool        int           // idle connections kept to one address
}

// Client calls services. Safe for concurrent use.
type Client struct{ t *http.Transport }

// Open returns the client of these options and the function that gives it back.
func Open(env *plugins.Env, o Options) (c *Client, release func()) {
	return plugins.Share(env.Shared, fmt.Sprintf("httpout %+v", o),
		func() *Client { return newClient(o) },
		func(c *Client) { c.t.CloseIdleConnections() })
}

const (
	maxHeader   = 64 << 10 // bytes of an answer's header
	dialTimeout = time.Minute
)

func newClient(o Options) *Client {
	return &Client{&http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: o.Insecure, MinVersion: tls.VersionTLS12},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		DisableKeepAlives:      !o.KeepAlive,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    o.Pool,
		IdleConnTimeout:        o.IdleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}}
}

// Request is a call. Its texts must not belong to a connection: the call may
// end before all of it is sent, and what is left is then still read.
type Request struct {
	Method  string
	URL     *url.URL // http or https, as from ParseURL; not changed
	Header  http.Header
	Host    string // "" for the URL's
	Body    []byte // nil for none
	Timeout time.Duration
	MaxBody int64 // bytes of the answer's body that are read
}

// Answer is what the service said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // the body was longer than MaxBody
}

// ParseURL reads the address of a service.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("uri %q is no http or https address", text)
	}
	return u, nil
}

// Do calls a service. ctx ends the call early; a *plugins.Ctx must not be
// handed in, but the context in it.
func (c *Client) Do(ctx context.Context, r *Request) (*Answer, error) {
	own, cancel := context.WithTimeoutCause(context.Background(), r.Timeout, errTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	out := (&http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: r.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(own)
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // none, rather than Go's
	}
	if len(r.Body) > 0 {
		out.ContentLength = int64(len(r.Body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
		out.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	resp, err := c.t.RoundTrip(out)
	if err != nil {
		return nil, cause(own, err)
	}
	defer resp.Body.Close()
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, r.MaxBody+1))
	if err != nil {
		return nil, cause(own, err)
	}
	if int64(len(a.Body)) > r.MaxBody {
		a.Body, a.Cut = a.Body[:r.MaxBody], true
	}
	return a, nil
}

var errTimeout = errors.New("timeout")

// cause is why a call failed: our time-out in its own words.
func cause(ctx context.Context, err error) error {
	if context.Cause(ctx) == errTimeout {
		return errTimeout
	}
	return err
}

// Frames reports whether a header field belongs to the connection or to the
// framing of a message, and so must not be carried from one message to another.
func Frames(name string) bool {
	for _, n := range [...]string{"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect",
		"Keep-Alive", "Proxy-Connection", "Te", "Trailer"} {
		if wire.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// ValidField reports whether a header field can be sent.
func ValidField(name, value string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
}
