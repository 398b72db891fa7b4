package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"sluice/gateway/wire"
)

// connKey is the context key of a QUIC connection's *conn.
type connKey struct{}

// ServeQUIC serves HTTP/3 on pc until it fails or the server is shut down,
// which returns nil. cfg chooses certificates as for TLS; its ALPN is set here.
// Early data is not taken: it can be replayed. pc stays the caller's to close.
func (s *Server) ServeQUIC(pc net.PacketConn, cfg *tls.Config) error {
	three := &http3.Server{
		TLSConfig: cfg,
		QUICConfig: &quic.Config{
			MaxIncomingStreams:             int64(s.opts.Streams),
			MaxIncomingUniStreams:          8, // HTTP/3 has use for three
			MaxIdleTimeout:                 s.opts.IdleTimeout,
			MaxStreamReceiveWindow:         256 << 10,
			MaxConnectionReceiveWindow:     1 << 20,
			InitialStreamReceiveWindow:     64 << 10,
			InitialConnectionReceiveWindow: 256 << 10,
		},
		MaxHeaderBytes: int(s.opts.HeaderBytes),
		IdleTimeout:    s.opts.IdleTimeout,
		Logger:         s.quiet,
		Handler:        http.HandlerFunc(serveQUIC),
		ConnContext:    s.quicConn,
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return nil
	}
	s.quics = append(s.quics, three)
	s.mu.Unlock()
	if err := three.Serve(pc); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, quic.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) quicConn(ctx context.Context, q *quic.Conn) context.Context {
	c := &conn{srv: s, addr: q.RemoteAddr(), remote: addrPort(q.RemoteAddr()), local: addrPort(q.LocalAddr())}
	c.drop = func() { _ = q.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "") }
	state := q.ConnectionState().TLS
	c.tls = &state
	return context.WithValue(ctx, connKey{}, c)
}

func serveQUIC(w http.ResponseWriter, r *http.Request) {
	r.Context().Value(connKey{}).(*conn).ServeHTTP(w, r)
}

// peekBody finds out whether a request without a length has a body at all.
// HTTP/3 does not say, and those of these methods hardly ever do.
func peekBody(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions:
	default:
		return nil
	}
	var first [1]byte
	n, err := r.Body.Read(first[:])
	if n > 0 {
		r.Body = joined{io.MultiReader(bytes.NewReader(first[:n]), r.Body), r.Body}
		return nil
	}
	if errors.Is(err, io.EOF) {
		r.ContentLength, err = 0, nil
	}
	if err != nil {
		return &wire.Error{Side: wire.Client, Kind: wire.Closed, Err: err}
	}
	return nil
}

type joined struct {
	io.Reader
	io.Closer
}
