// Package wire holds HTTP messages and the HTTP/1.1 engine: it reads bytes
// into requests and responses, writes them, keeps upstream connections and
// streams bodies both ways. It removes hop-by-hop fields before anyone above
// can see them and refuses whatever two readers could understand differently.
//
// It knows no routes, no plugins, no configuration and writes no log lines:
// what goes wrong is returned as an *Error.
package wire

import (
	"crypto/tls"
	"io"
	"net/netip"
)

// Request is one HTTP request as it walks through the gateway: filled by the
// server side (HTTP/1.1 here, HTTP/2 and HTTP/3 by adaptors), changed by
// plugins, written by the upstream side. Strings may point into the
// connection's buffer and are valid until the exchange ends.
type Request struct {
	Method string
	// Target is the request target as the client sent it (origin form; an
	// absolute form is reduced to its path and query, its authority moves to Host).
	Target string
	// Host is the Host field, or the :authority. It is not kept in Header.
	Host  string
	Major int // HTTP version: 1, 2 or 3
	Minor int // 0 or 1 when Major is 1

	// Header has the end-to-end fields; hop-by-hop fields are gone already.
	// Content-Length is in it to be looked at only: the engine writes its own.
	Header  Header
	Trailer Header // filled when Body has been read to its end

	// ContentLength is the length of the body, 0 for none, -1 when it is not
	// known before its end (chunked, or HTTP/2 without content-length).
	ContentLength int64
	// Body is never nil. It belongs to the exchange, and reading it may block on the client.
	Body io.Reader

	// Upgrade is the protocol of an Upgrade request ("websocket"), or "".
	Upgrade string

	// Size is the number of bytes of the request line and header as read.
	Size int64

	Remote netip.AddrPort // peer of the connection (after PROXY protocol, if any)
	Local  netip.AddrPort // our end
	TLS    *tls.ConnectionState
}

// Response is one HTTP response: read from an upstream or made here.
type Response struct {
	Status int
	Header Header // end-to-end fields only
	// Trailer is filled when Body has been read to its end.
	Trailer Header
	// ContentLength is the length of the body, or -1 when it ends by framing.
	ContentLength int64
	// Body is nil for none. Close gives an upstream connection back to its pool
	// (or closes it, when the body was not read to its end).
	Body io.ReadCloser
}

// reset empties r and keeps its memory.
func (r *Response) reset() {
	h, tr := r.Header, r.Trailer
	h.Reset()
	tr.Reset()
	*r = Response{Header: h, Trailer: tr}
}

// Side says whose fault an error is.
type Side uint8

// The sides of a walk.
const (
	Client Side = iota + 1
	Upstream
	Us
)

// Kind is what went wrong.
type Kind uint8

// The kinds of failures. Status, retry, health mark and log level follow from
// Side, Kind and Retry in one table of the gateway.
const (
	Malformed Kind = iota + 1 // the message breaks the protocol
	TooLarge                  // a configured limit was exceeded
	Connect                   // no connection could be made
	Timeout                   // the peer was too slow
	Closed                    // the peer closed or reset the connection
	Handshake                 // TLS failed
	Aborted                   // the other side of the walk is gone
)

// Retry says whether another try may be made.
type Retry uint8

// The answers to "may it be tried again?".
const (
	No           Retry = iota
	Yes                // nothing of the request was sent
	OnReusedOnly       // a kept connection turned out stale: try again on a new one
)

// Error is what every function of this package fails with.
type Error struct {
	Side  Side
	Kind  Kind
	Retry Retry
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Status is what a proxy answers for the error, as nginx does.
func (e *Error) Status() int {
	switch e.Side {
	case Client:
		switch e.Kind {
		case Timeout:
			return 408
		case TooLarge:
			return 413
		case Closed, Aborted:
			return 499
		}
		return 400
	case Upstream:
		switch e.Kind {
		case Timeout:
			return 504
		case Aborted:
			return 499
		}
		return 502
	}
	return 500
}
