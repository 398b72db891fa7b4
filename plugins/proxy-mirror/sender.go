package proxymirror

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"sluice/plugins"
)

// The bounds of what copies may take: more are dropped rather than kept.
const (
	maxCalls = 256      // on their way at a time
	maxBytes = 64 << 20 // of their bodies
	maxBody  = 16 << 20 // of one
)

// times are how long the steps of a call may take.
type times struct{ Connect, Read, Send time.Duration }

// timeouts reads plugin_attr.proxy-mirror.timeout.
func timeouts(attr json.RawMessage) (times, error) {
	t := times{time.Minute, time.Minute, time.Minute}
	var a struct {
		Timeout map[string]any `json:"timeout"`
	}
	if err := plugins.Decode(attr, &a); err != nil {
		return t, err
	}
	for name, to := range map[string]*time.Duration{"connect": &t.Connect, "read": &t.Read, "send": &t.Send} {
		v, ok := a.Timeout[name]
		if !ok {
			continue
		}
		text := fmt.Sprint(v)
		if _, isNumber := v.(json.Number); isNumber {
			text += "s"
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return t, fmt.Errorf("plugin_attr.proxy-mirror.timeout.%s: %q is no duration", name, text)
		}
		*to = d
	}
	return t, nil
}

// copied is a copy of a request. It holds nothing of the request's memory.
type copied struct {
	method, scheme, authority, uri, host string
	header                               http.Header
	body                                 []byte
}

// sender makes the calls of all instances, each on a goroutine that ends with
// the call; close ends those under way and waits for them.
type sender struct {
	http, grpc *http.Transport
	total      time.Duration
	log        *slog.Logger
	ctx        context.Context
	cancel     context.CancelFunc
	running    sync.WaitGroup

	mu      sync.Mutex // guards what follows
	calls   int
	bytes   int
	closed  bool
	dropped int64
}

func newSender(t times, log *slog.Logger) *sender {
	s := &sender{http: transport(t), grpc: transport(t), total: t.Connect + t.Send + t.Read, log: log}
	s.grpc.Protocols = new(http.Protocols)
	s.grpc.Protocols.SetHTTP2(true)
	s.grpc.Protocols.SetUnencryptedHTTP2(true)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// transport does not verify certificates: nginx does not for mirrors either.
func transport(t times) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: t.Connect}).DialContext,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: true},
		TLSHandshakeTimeout:   t.Connect,
		ResponseHeaderTimeout: t.Read,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
	}
}

// send takes a copy over, or drops it.
func (s *sender) send(c *copied) {
	s.mu.Lock()
	full := s.closed || s.calls >= maxCalls || s.bytes+len(c.body) > maxBytes
	if !full {
		s.calls++
		s.bytes += len(c.body)
		s.running.Add(1)
	}
	s.mu.Unlock()
	if full {
		s.drop("too many copies on their way")
		return
	}
	go s.call(c)
}

// drop counts a copy that is not sent, and tells of every thousandth.
func (s *sender) drop(reason string) {
	s.mu.Lock()
	n := s.dropped
	s.dropped++
	s.mu.Unlock()
	if n%1000 == 0 {
		s.log.Warn("mirrored request dropped", "reason", reason, "dropped", n+1)
	}
}

func (s *sender) call(c *copied) {
	defer s.running.Done()
	ctx, cancel := context.WithTimeout(s.ctx, s.total)
	defer cancel()
	if err := s.try(ctx, c); err != nil {
		s.log.Warn("mirrored request failed", "host", c.authority, "err", err)
	}
	s.mu.Lock()
	s.calls--
	s.bytes -= len(c.body)
	s.mu.Unlock()
}

func (s *sender) try(ctx context.Context, c *copied) error {
	t, scheme := s.http, c.scheme
	switch c.scheme {
	case "grpc":
		t, scheme = s.grpc, "http"
	case "grpcs":
		t, scheme = s.grpc, "https"
	}
	r, err := http.NewRequestWithContext(ctx, c.method, scheme+"://"+c.authority, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	if r.URL, err = target(scheme, c.authority, c.uri); err != nil {
		return err
	}
	r.Host, r.Header = c.host, c.header
	if t == s.grpc {
		r.Header.Set("Te", "trailers")
	}
	res, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return err
}

// target keeps a path as it is written.
func target(scheme, authority, uri string) (*url.URL, error) {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = scheme, authority
	return u, nil
}

// close ends all calls.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	s.http.CloseIdleConnections()
	s.grpc.CloseIdleConnections()
}
