package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Inform relays an interim answer; see Sender.
func (c *conn) Inform(status int, h *Header) error {
	if c.answered || c.w.x.Req.Minor == 0 || status == 101 {
		return nil
	}
	return c.interim(status, h)
}

func (c *conn) interim(status int, h *Header) error {
	if status == 100 {
		if c.informed || c.answered {
			return nil
		}
		c.informed = true
		c.w.body.want100 = false
	}
	b := appendStatus(make([]byte, 0, 256), status)
	if h != nil {
		for _, f := range h.fields {
			if hop(f.Name) == hopNone {
				b = appendField(b, f.Name, f.Value)
			}
		}
	}
	_, err := c.write(append(b, '\r', '\n'))
	return err
}

// write writes all of b to the client within the send time-out per step.
func (c *conn) write(b []byte) (int, error) {
	total := 0
	if c.fd >= 0 {
		if !c.looped() {
			c.srv.yield()
		}
		n, errno := sysWrite(uintptr(c.fd), b)
		if errno == 0 {
			total = n
		}
		if total == len(b) {
			return total, nil
		}
	}
	c.waited = true
	c.leave()
	for total < len(b) {
		piece := b[total:min(len(b), total+copySize)]
		c.armWrite(nano(), int64(c.srv.Timeouts.Send))
		if c.ctx.over.Load() { // after arming, which may undo an abort
			return total, c.writeError(errForced)
		}
		n, err := c.nc.Write(piece)
		total += n
		if err == nil {
			continue
		}
		c.writeBy = 0
		if n == 0 || c.ctx.over.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return total, c.writeError(err)
		}
	}
	return total, nil
}

func (c *conn) armWrite(now, wait int64) {
	want := now + wait
	if slack(c.writeBy, want, wait) {
		return
	}
	c.writeBy = want
	_ = c.nc.SetWriteDeadline(epoch.Add(time.Duration(want)))
}

func (c *conn) writeError(err error) error {
	c.close = true
	kind := Closed
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.ctx.over.Load() {
		kind = Timeout
	}
	if errors.Is(err, net.ErrClosed) {
		err = errForced
	}
	return &Error{Side: Client, Kind: kind, Err: fmt.Errorf("sending to the client: %w", err)}
}

// refuse answers a malformed request and ends the connection.
func (c *conn) refuse(v *violation) {
	x := &c.w.x
	c.close, c.lingering = true, true
	c.w.body.eof.Store(true)
	resp := &x.Resp
	if c.srv.BadRequest != nil {
		if r := c.srv.BadRequest(x, v.status); r != nil {
			resp = r
		}
	}
	if resp.Status == 0 {
		resp.Status = v.status
		page := strconv.Itoa(v.status) + " " + reason(v.status) + "\n"
		resp.Header.Set("Content-Type", "text/plain")
		resp.ContentLength = int64(len(page))
		resp.Body = Bytes([]byte(page))
	}
	kind := Malformed
	if v.big {
		kind = TooLarge
	}
	_, _ = c.Send(resp, nil) // the client is at fault already; more cannot be done
	c.report(&Error{Side: Client, Kind: kind, Err: v})
}
