package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

type tlsConn interface{ ConnectionState() tls.ConnectionState }

// finish is the end of a connection's goroutine.
func (c *conn) finish() {
	if p := recover(); p != nil {
		c.panicked(p)
	}
	c.end()
}

func (c *conn) panicked(p any) {
	if c.w != nil {
		c.endLease()
	}
	if u := c.ctx.up.Load(); u != nil {
		u.close() // in the middle of its exchange
	}
	c.lingering, c.w, c.close = false, nil, true // someone may still hold the buffers
	c.up, c.given = nil, nil
	c.report(&Error{Side: Us, Kind: Aborted, Err: fmt.Errorf("panic while serving: %v", p)})
}

// end ends the connection, or goes on with a new goroutine.
func (c *conn) end() {
	if c.move && !c.close {
		c.move = false
		c.srv.moved.Add(1)
		go c.run()
		return
	}
	c.deliver()
	c.ctx.cancel()
	if !c.hijacked {
		if c.lingering {
			c.linger()
		}
		_ = c.nc.Close()
		c.srv.forget(c)
	}
	c.release()
}

// linger reads on for a while after the last response: closing with unread
// bytes would reset the connection, and the client might never see the answer.
func (c *conn) linger() {
	c.leave()
	if t, ok := c.nc.(interface{ CloseWrite() error }); !ok || t.CloseWrite() != nil {
		return
	}
	var trash [4 << 10]byte
	_ = c.nc.SetReadDeadline(time.Now().Add(c.srv.Timeouts.Linger))
	for total := 0; total < 64*maxDiscard && !c.ctx.over.Load(); {
		n, err := c.nc.Read(trash[:])
		if err != nil {
			return
		}
		total += n
	}
}

// readBody reads from the client outside the buffer, within the body time-out.
func (c *conn) readBody(p []byte) (int, error) {
	if c.fd >= 0 {
		return 0, &Error{Side: Us, Kind: Aborted, Err: errors.New("body read inside the callback")}
	}
	wait := c.srv.Timeouts.Body
	start := nano()
	for {
		c.arm(start, int64(wait))
		if c.ctx.over.Load() || c.quitBody.Load() { // after arm, which may undo a kick
			return 0, &Error{Side: Client, Kind: Closed, Err: errForced}
		}
		n, err := c.nc.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.deadline = 0
			if nano()-start < int64(wait) {
				continue
			}
			return 0, &Error{Side: Client, Kind: Timeout, Err: fmt.Errorf("reading the request body: %w", err)}
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, &Error{Side: Client, Kind: Closed, Err: fmt.Errorf("reading the request body: %w", err)}
	}
}

// arm sets the read deadline, if it moved far enough to matter. It is early at
// most, and whoever meets an early one looks at the clock and waits again.
func (c *conn) arm(now, wait int64) {
	want := now + wait
	if slack(c.deadline, want, wait) {
		return
	}
	c.deadline = want
	_ = c.nc.SetReadDeadline(epoch.Add(time.Duration(want)))
}

// slack reports whether a deadline in force will do for the wanted one, wait from now.
func slack(armed, want, wait int64) bool {
	d := want - armed
	return armed != 0 && d >= 0 && d < min(int64(time.Second), wait/4)
}

// preface looks for the connection preface of HTTP/2 and hands the connection
// over. It reports whether parse should stop here.
func (c *conn) preface() bool {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	have := text(c.w.in[c.r:min(c.n, c.r+len(preface))])
	if c.srv.H2C == nil {
		return false
	}
	if !strings.HasPrefix(preface, have) || len(have) < 4 {
		if c.scan.rows == 0 {
			c.scan = headScan{} // it may have been moved while this looked like a preface
		}
		return false
	}
	if len(have) < len(preface) {
		c.scan.pos = c.n - c.r // wait for the rest
		c.begun()
		return true
	}
	if c.fd >= 0 {
		c.outside = true
		return true
	}
	c.hijack()
	return true
}

// hijack gives the connection to H2C and waits for its end.
func (c *conn) hijack() {
	c.close, c.hijacked = true, true
	pre := append([]byte(nil), c.w.in[c.r:c.n]...)
	c.release()
	_ = c.nc.SetReadDeadline(time.Time{})
	c.srv.forget(c)
	c.srv.H2C(&replayConn{Conn: c.nc, pre: pre})
	_ = c.nc.Close()
}

// replayConn is a connection of which some bytes were read already.
type replayConn struct {
	net.Conn
	pre []byte
}

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.pre) > 0 {
		n := copy(p, c.pre)
		c.pre = c.pre[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
