package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sluice/gateway/loop"
)

// trip is one request to an upstream and the head of its response.
type trip struct {
	x    *Exchange
	out  *Outgoing
	resp *Response
	cc   *connContext // of an HTTP/1 client; nil for others
	stop func() bool  // ends the watch of another's context

	buf     []byte // request, then response
	own     bool   // buf is this trip's, not the client connection's
	req     []byte // of buf: what to write
	more    []byte // body in memory that did not fit behind req
	stream  bool   // the body is sent by a goroutine
	n       int    // bytes of the response in buf
	end     int    // of them: its head
	scan    headScan
	f       framing
	minor   int
	up      *upload
	start   int64
	wrote   int64 // bytes written
	sent    bool  // all that Do writes itself is written
	err     error
	check   bool // look before writing
	reused  bool
	begun   bool          // the callback has run
	handed  bool          // req was given to the loop to write
	connect time.Duration // how long connecting took
	sentAt  int64         // nano when the request was on its way
	headAt  int64         // nano when the response head was there
}

// maxResponseHead is the largest response head taken from an upstream.
const maxResponseHead = 64 << 10

var responseLimits = headLimits{first: maxResponseHead, line: maxResponseHead, total: maxResponseHead, fields: 1000}

// peekAfter is how long a connection must have been unused, in nanoseconds, to
// be looked at before it carries a request that may be sent again: should it be
// closed, the request goes to another one. One that must not be sent twice
// (RFC 9110, 9.2.2) has only this look, so it is never left out. A close that
// crosses such a request on its way is the client's to judge, as with nginx: a
// server may have done the work before it closed.
const peekAfter = int64(time.Millisecond)

// errStale means that a kept connection was closed, or spoke, while unused.
var errStale = errors.New("kept connection was closed")

// Do sends out to the upstream and reads the head of the answer into resp. An
// interim answer is relayed with x.Inform. resp.Body reads the rest; closing it
// gives the connection back. A kept connection that turns out closed before the
// upstream answered is replaced at once where the request may be sent again.
// The error is an *Error, or ErrPending: the exchange then goes on, and out and
// resp must stay as they are, until x.Answer tells its end.
//
// out.Body, when it is the body of x.Req and wholly received, or a
// *bytes.Reader, is not used up by a failed Do: Replayable tells.
func (p *Peer) Do(x *Exchange, out *Outgoing, resp *Response) (Timing, error) {
	if p.h2 != nil {
		x.Leave()
		return p.h2.do(x, out, resp)
	}
	if p.opts.TLS != nil {
		x.Leave()
	}
	late := !out.Soon || x.conn == nil
	body := out.Body
	if r, ok := body.(*rejoined); ok {
		body = r.rest
	}
	if b, ok := body.(*reqBody); ok {
		late = b.gather() || late
	}
	start := x.began
	if late {
		start = x.conn.now()
	}
	return p.send(x, out, resp, start, true)
}

// send is Do with the connections kept, or without.
func (p *Peer) send(x *Exchange, out *Outgoing, resp *Response, start int64, kept bool) (Timing, error) {
	var l *loop.Loop
	if x.conn.resumable() {
		l = x.conn.lc.Loop()
	}
	for kept {
		u := p.take(start, l)
		if u == nil {
			break
		}
		if u.start(x, out, resp, start, 0) {
			return Timing{}, ErrPending
		}
		t, err := u.conclude()
		if err == nil {
			return t, nil
		}
		if !replaceable(err, out) {
			return t, err
		}
		kept = err.Err == errStale
	}
	ctx := x.Context
	if ctx == nil {
		ctx = context.Background()
	}
	if l != nil {
		x.conn.turn.Leave()
	}
	u, err := p.dial(ctx, out.Connect)
	if err != nil {
		return Timing{Connect: time.Duration(nano() - start)}, err
	}
	if l != nil {
		u.adopt(l)
	}
	if u.start(x, out, resp, start, time.Duration(nano()-start)) {
		return Timing{}, ErrPending
	}
	t, e := u.conclude()
	if e != nil {
		return t, e
	}
	return t, nil
}

// replaceable reports whether another connection may do what a kept one failed to.
func replaceable(err *Error, out *Outgoing) bool {
	return err.Retry == Yes || err.Retry == OnReusedOnly && again(out)
}

// again says whether a request that may have reached a server may be sent once more.
func again(out *Outgoing) bool {
	switch out.Method {
	case "POST", "PATCH", "LOCK":
		return false
	}
	return Replayable(out)
}

// Replayable reports whether the body of out is still there as a whole after a
// Do that failed.
func Replayable(out *Outgoing) bool {
	switch b := out.Body.(type) {
	case nil, noBody, *bytes.Reader:
		return true
	case *reqBody:
		if b.eof.Load() {
			return false
		}
		_, ok := b.whole()
		return ok
	}
	return out.ContentLength == 0
}

// start begins an exchange, and ends it unless it is pending. conclude follows.
func (u *upConn) start(x *Exchange, out *Outgoing, resp *Response, start int64, connect time.Duration) (pending bool) {
	t := &u.trip
	t.forget()
	t.x, t.out, t.resp, t.reused, t.start, t.connect = x, out, resp, u.served > 0, start, connect
	t.check = t.reused && (u.suspect(start) || !again(out))
	resp.reset()
	u.served++
	t.buffers()
	t.build()
	u.watch()
	if u.looped() && x.conn.resumable() {
		return u.launch()
	}
	x.Leave()
	t.err = u.exchange()
	return false
}

// conclude is what came of an exchange. After a failure the connection is closed.
func (u *upConn) conclude() (Timing, *Error) {
	t := &u.trip
	x, err := t.x, t.err
	t.headAt = x.conn.now()
	x.arrived = t.headAt
	tm := Timing{Connect: t.connect, Header: time.Duration(t.headAt - t.start), Reused: t.reused, BytesOut: t.wrote, BytesIn: int64(t.end)}
	if err == nil {
		err = u.accept() // an empty body gives the connection back: t is not ours then
	}
	if err != nil {
		e := u.explain(err)
		u.drop()
		return tm, e
	}
	return tm, nil
}

// suspect says whether a kept connection may have been closed since its last
// use. The loop that watches one knows.
func (u *upConn) suspect(now int64) bool {
	if u.looped() {
		return !u.lc.Silent()
	}
	return now-u.idleSince > peekAfter
}

// forget drops what an exchange left behind, and the references with it.
func (t *trip) forget() { *t = trip{} }

// buffers gets the memory for request and response.
func (t *trip) buffers() {
	if c := t.x.conn; c != nil && &c.w.x == t.x {
		t.cc = &c.ctx
		t.buf = c.w.up
		return
	}
	t.own = true
	t.buf = make([]byte, bufSize)
}

// watch has the connection kicked when the exchange's context ends.
func (u *upConn) watch() {
	t := &u.trip
	if t.cc != nil {
		t.cc.up.Store(u)
		return
	}
	if ctx := t.x.Context; ctx != nil && ctx.Done() != nil {
		t.stop = context.AfterFunc(ctx, u.kick)
	}
}

// unwatch is the end of watch.
func (t *trip) unwatch() {
	switch {
	case t.cc != nil:
		t.cc.up.Store(nil)
	case t.stop != nil:
		t.stop()
	}
}

// canceled reports whether the client is gone.
func (t *trip) canceled() bool {
	if t.cc != nil {
		return t.cc.over.Load()
	}
	return t.x.Context != nil && t.x.Context.Err() != nil
}

// exchange writes the request and reads the response head.
func (u *upConn) exchange() error {
	t := &u.trip
	if u.parked() {
		return u.exchangeParked()
	}
	if t.check && !u.fresh() {
		return errStale
	}
	return u.slowly()
}

// slowly is exchange with ordinary calls.
func (u *upConn) slowly() error {
	t := &u.trip
	if t.x.conn != nil {
		t.x.conn.leave()
	}
	if err := u.write(t.req); err != nil {
		return err
	}
	if err := u.write(t.more); err != nil {
		return err
	}
	t.sent = true
	if t.stream {
		var err error
		if t.up, err = u.startUpload(); err != nil {
			return err
		}
	}
	for t.end == 0 {
		if t.n == len(t.buf) {
			t.grow()
		}
		n, err := u.read(t.buf[t.n:])
		t.n += n
		if err != nil {
			return err
		}
		if err := t.head(); err != nil {
			return err
		}
	}
	return nil
}

func (t *trip) grow() {
	bigger := make([]byte, 2*len(t.buf))
	copy(bigger, t.buf[:t.n])
	t.buf = bigger
}

// head parses the response head once it is complete, and passes interim ones on.
func (t *trip) head() error {
	for {
		end, v := t.scan.find(t.buf[:t.n], &responseLimits)
		if v != nil {
			return v
		}
		if end == 0 {
			return nil
		}
		b := t.buf[:end]
		if t.own {
			b = bytes.Clone(b) // strings outlive the buffer
		}
		t.f = framing{}
		if t.minor, v = t.resp.parse(b, &t.f); v != nil {
			return v
		}
		if t.resp.Status >= 200 || t.resp.Status == 101 {
			t.end = end
			return nil
		}
		if t.resp.Status != 100 && t.x.Sender != nil {
			if err := t.x.Inform(t.resp.Status, &t.resp.Header); err != nil {
				return err
			}
		}
		t.resp.reset()
		t.n = copy(t.buf, t.buf[end:t.n])
		t.scan = headScan{}
	}
}

// read reads within the read time-out. Behind a client that a loop serves, both
// connections become ordinary ones: one alone would be of no use to the next
// request.
func (u *upConn) read(p []byte) (int, error) {
	t := &u.trip
	t.x.conn.leave()
	from := nano()
	wait := orMinute(t.out.Read)
	for {
		u.armRead(from, wait)
		if t.canceled() { // after arming, which may undo a kick
			return 0, errClientGone
		}
		n, err := u.nc.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if from, err = u.late(from, wait, err); err != nil {
			return 0, err
		}
	}
}

// late decides what a failed read means: its error, or nil when it only looked
// up too early and should wait on, counting from the time returned. While the
// request is still being sent, its last progress counts.
func (u *upConn) late(from, wait int64, err error) (int64, error) {
	t := &u.trip
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return from, err
	}
	u.readBy = 0
	if t.up != nil {
		if !t.up.over() {
			return nano(), nil
		}
		if t.up.fault != nil {
			return from, t.up.fault
		}
		from = max(from, t.up.progress.Load())
	}
	if nano()-from >= wait {
		return from, err
	}
	return from, nil
}

var errClientGone = errors.New("client is gone")

// write writes a part of the request.
func (u *upConn) write(p []byte) error {
	t := &u.trip
	n, err := u.send(p, orMinute(t.out.Send))
	t.wrote += int64(n)
	return err
}

// send writes p within the time-out per step, in nanoseconds.
func (u *upConn) send(p []byte, wait int64) (int, error) {
	total := 0
	for total < len(p) {
		u.armWrite(nano(), wait)
		n, err := u.nc.Write(p[total:min(len(p), total+copySize)])
		total += n
		if err != nil {
			u.writeBy = 0
			if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				return total, err
			}
		}
	}
	return total, nil
}

// drop closes the connection of a failed exchange.
func (u *upConn) drop() {
	u.trip.unwatch()
	u.close()
}

// explain turns what went wrong into an *Error.
func (u *upConn) explain(err error) *Error {
	t := &u.trip
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = &Error{Side: Upstream, Kind: Closed}
	var v *violation
	switch {
	case t.canceled():
		e.Side, e.Kind = Client, Aborted
	case err == errStale:
		e.Retry = Yes
		e.Err = errStale
		return e
	case errors.As(err, &v):
		e.Kind = Malformed
		if v.big {
			e.Kind = TooLarge
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind = Timeout
	case t.wrote == 0 && t.up == nil:
		e.Retry = Yes
	case t.reused && t.n == 0 && t.up == nil:
		e.Retry = OnReusedOnly
	}
	doing := "reading the response header from"
	if !t.sent {
		doing = "sending the request to"
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	e.Err = fmt.Errorf("%s %s: %w", doing, u.peer.opts.Addr, err)
	return e
}
