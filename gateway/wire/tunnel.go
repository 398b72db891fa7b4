package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// Tunnel answers an upgrade and copies bytes both ways until either side ends;
// see Sender. It owns up and closes it.
func (c *conn) Tunnel(resp *Response, up io.ReadWriteCloser) (Sent, error) {
	defer up.Close()
	if c.answered || c.fd >= 0 {
		return Sent{}, &Error{Side: Us, Kind: Malformed, Err: errAnswered}
	}
	s := sending{c: c, resp: resp}
	s.plan()
	c.close = true
	if resp.Status == 101 && !resp.Header.Has("Upgrade") {
		resp.Header.Set("Upgrade", c.w.x.Req.Upgrade)
	}
	s.b = s.head(c.w.out[:0])
	if err := s.flush(); err != nil {
		return s.sent, err
	}
	c.w.body.eof.Store(true)
	client := make(chan error, 1)
	go func() { // ends when the client does, or is kicked below
		err := c.toUpstream(up)
		if u, ok := up.(*upBody); ok {
			u.cut()
		} else {
			up.Close()
		}
		client <- err
	}()
	err := c.fromUpstream(up, &s.sent)
	c.quitBody.Store(true)
	c.kick()
	<-client
	c.quitBody.Store(false)
	return s.sent, err
}

// toUpstream copies what the client sends.
func (c *conn) toUpstream(up io.Writer) error {
	if c.r < c.n {
		n, err := up.Write(c.w.in[c.r:c.n])
		c.r += n
		if err != nil {
			return err
		}
	}
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	_ = c.nc.SetReadDeadline(time.Time{})
	for !c.quitBody.Load() && !c.ctx.over.Load() {
		n, err := c.nc.Read(buf[:])
		if n > 0 {
			if _, err := up.Write(buf[:n]); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && !c.quitBody.Load() {
			_ = c.nc.SetReadDeadline(time.Time{}) // an old time-out: not meant for the tunnel
			continue
		}
		return err
	}
	return nil
}

// fromUpstream copies what the upstream sends.
func (c *conn) fromUpstream(up io.Reader, sent *Sent) error {
	buf := copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := up.Read(buf[:])
		if n > 0 {
			m, err := c.write(buf[:n])
			sent.Total += int64(m)
			sent.Body += int64(m)
			if err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
