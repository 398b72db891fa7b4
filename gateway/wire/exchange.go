package wire

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"sluice/gateway/lane"
)

// Handler serves one exchange: it ends with exactly one call of x.Send or
// x.Tunnel, if need be in Resume (see Resumer). It runs on the goroutine of the
// connection or stream, or on that of the connection's loop.
type Handler interface {
	Serve(x *Exchange)
}

// Exchange is one request and its answer on a client's connection. It is
// reused for later requests, of the same or another connection, and must not be copied.
type Exchange struct {
	Req Request
	// Resp is scratch for the handler: the response of the upstream is read into it.
	Resp Response
	// Slot is the handler's own: it is kept when the exchange is reused, so that
	// what the handler needs per request is made once. It begins as nil.
	Slot any
	// Context ends when the client is gone or the server stops by force.
	Context context.Context
	// Sender writes the answer in the protocol of the connection.
	Sender

	conn *conn // whose buffers it may use; nil for other protocols
	// began and ended are readings of nano, made once and shared by all who ask:
	// on some machines reading the clock costs as much as a header look-up does.
	began, ended int64
	arrived      int64 // when the head of the upstream's response did
	// whole is when a response arrived that went out in one piece, else 0.
	whole int64
}

// Leave is for the handler to call before it waits for anything but Do and the
// methods of Sender, or computes for long: others may be served by the same
// thread, and go on elsewhere then.
func (x *Exchange) Leave() {
	if x.conn != nil {
		x.conn.leave()
	}
}

// Lane is the lane (gateway/lane) to count the request on.
func (x *Exchange) Lane() int {
	if x.conn == nil {
		return lane.Here()
	}
	return x.conn.lane()
}

// Began is when the head of the request was complete.
func (x *Exchange) Began() time.Time {
	if x.conn == nil {
		return time.Now()
	}
	return x.conn.srv.date.wall(x.began)
}

// Ended is for the handler to call once, when the answer was sent: it tells the
// time, and the engine counts the connection's idle time from there. For a
// response that arrived and went out in one piece that is when it arrived: the
// one write between is shorter than anyone measures.
func (x *Exchange) Ended() time.Time {
	if x.conn == nil {
		return time.Now()
	}
	if x.ended = x.whole; x.ended == 0 {
		x.ended = x.conn.now()
	}
	return x.conn.srv.date.wall(x.ended)
}

// BodyFilter sees each piece of a response body and returns what to send
// instead; last is true exactly once, with the final (maybe empty) piece.
type BodyFilter func(piece []byte, last bool) ([]byte, error)

// Sent tells how much of an answer went to the client, in bytes. What a loop was
// handed to write along with other answers counts: it goes out right after the
// handler, unless the client is gone.
type Sent struct {
	Total int64 // header and body as framed
	Body  int64 // body without framing
}

// Sender is the answering side of an exchange. HTTP/1.1 implements it here,
// HTTP/2 and HTTP/3 in gateway/h2.
type Sender interface {
	// Send writes resp with its body (closing it) and trailers. The engine sets
	// the framing fields (Content-Length, Transfer-Encoding, Connection) and
	// Date when it is missing; HEAD, 204 and 304 rules are its business. The
	// pieces of the body pass filter (nil for none). A body piece is sent on as
	// soon as it was received.
	Send(resp *Response, filter BodyFilter) (Sent, error)
	// Inform relays an interim answer (100, 103).
	Inform(status int, h *Header) error
	// Tunnel sends resp (101, or 200 to a CONNECT of HTTP/2) and then copies
	// bytes both ways between client and up until either ends.
	Tunnel(resp *Response, up io.ReadWriteCloser) (Sent, error)
}

// PeerOptions are what makes connections to one upstream server differ from
// others: two Peers never share connections.
type PeerOptions struct {
	Addr  string      // ip:port
	TLS   *tls.Config // nil: plain. ServerName, client certificate and verification are in it
	HTTP2 bool        // speak HTTP/2 (grpc: prior knowledge without TLS, ALPN h2 with)

	Idle        int           // connections kept by each processor, as by each worker of nginx; 0 keeps none
	IdleTimeout time.Duration // how long an idle connection is kept
	Requests    int           // requests per connection before it is closed; 0: no limit
}

// Outgoing is a request as it goes to an upstream server. A handler that keeps
// it in Exchange.Slot between requests saves an allocation.
type Outgoing struct {
	Method string
	URI    string // path and query as written on the request line
	Host   string
	Header *Header // end-to-end fields; framing fields are the engine's
	// Body is what to send: nil none, otherwise ContentLength bytes (-1: until
	// its end, chunked). Replayable bodies are those that are a *bytes.Reader.
	Body          io.Reader
	ContentLength int64
	Trailer       *Header // sent after a chunked body; nil: none
	Upgrade       string  // protocol of an upgrade, "" for none

	Connect, Send, Read time.Duration // time-outs of the three steps

	// Soon says that nothing that takes time happened since the request began:
	// the clock need not be read again.
	Soon bool
}

// Timing is how long the steps of a round trip took.
type Timing struct {
	Connect           time.Duration // 0 on a kept connection
	Header            time.Duration // from the start until the response header was read
	Reused            bool
	BytesOut, BytesIn int64 // request as written; response header as read
}
