package wire

// advance takes the next step with what is in the buffer: a head, then the
// request. It returns false when it needs more, or another place to run.
func (c *conn) advance() bool {
	if !c.parsed && !c.parse() {
		return false
	}
	if leave := c.mustLeave(); leave && c.fd >= 0 {
		c.outside = true
		return false
	}
	c.serve()
	return !c.close && c.up == nil
}

// parse reads the head of the next request.
func (c *conn) parse() bool {
	if c.scan.pos == 0 && !c.skipEmpty() {
		return false
	}
	if c.served == 0 && c.w.in[c.r] == 'P' && c.preface() {
		return false
	}
	end, v := c.scan.find(c.w.in[c.r:c.n], &c.srv.head)
	if v == nil && end == 0 {
		c.begun()
		return false
	}
	x := &c.w.x
	c.begin(x)
	if v == nil {
		v = x.Req.parse(c.w.in[c.r:c.r+end], &c.w.f)
	} else {
		x.Req.Size = int64(c.n - c.r)
		end = c.n - c.r
	}
	c.r += end
	c.headEnd = c.r
	c.w.body.start(c, &x.Req, &c.w.f)
	c.w.head = x.Req.Method == "HEAD"
	x.began, x.ended, x.whole = c.now(), 0, 0
	c.enterAt(phaseServe, x.began)
	if v != nil {
		c.refuse(v)
		return false
	}
	c.parsed = true
	return true
}

// begun notes that a request has begun and is not complete.
func (c *conn) begun() {
	if c.phase.Load() == phaseIdle {
		c.enter(phaseHead)
	}
}

// skipEmpty drops empty lines before a request line (RFC 9112 2.2) and says
// whether there is something behind them.
func (c *conn) skipEmpty() bool {
	for i := 0; i < 4 && c.n-c.r >= 2 && c.w.in[c.r] == '\r' && c.w.in[c.r+1] == '\n'; i++ {
		c.r += 2
	}
	if c.r == c.n {
		return false
	}
	return c.n-c.r > 1 || c.w.in[c.r] != '\r'
}

// begin readies the exchange for a new request.
func (c *conn) begin(x *Exchange) {
	r := &x.Req
	h, tr := r.Header, r.Trailer
	h.Reset()
	tr.Reset()
	*r = Request{Header: h, Trailer: tr, Major: 1, Minor: 1, Body: noBody{}, Remote: c.remote, Local: c.local}
	if t, ok := c.nc.(tlsConn); ok && c.tls == nil {
		st := t.ConnectionState() // complete: bytes were read
		c.tls = &st
	}
	r.TLS = c.tls
	x.Resp.reset()
	x.Context, x.Sender, x.conn = &c.ctx, c, c
	c.w.f = framing{length: -1}
	c.answered, c.informed, c.lingering, c.waited = false, false, false, false
}

// mustLeave says whether the request may have to wait for the client, which
// cannot be done inside the callback.
func (c *conn) mustLeave() bool {
	if c.w.x.Req.Upgrade != "" {
		return true
	}
	whole, err := c.w.body.inBuffer()
	if err != nil {
		c.w.body.fail(err)
		return false // the handler will see it when it reads
	}
	return !whole
}

// serve has the handler answer the request and cleans up behind it.
func (c *conn) serve() {
	x := &c.w.x
	c.parsed = false
	c.served++
	c.srv.requests.AddAt(c.lane(), 1)
	c.srv.Handler.Serve(x)
	if c.up == nil {
		c.handled()
	}
}

// handled comes after the handler.
func (c *conn) handled() {
	if !c.answered || c.srv.stopping.Load() {
		c.close = true
	}
	c.tidy()
}

// tidy brings the connection from the end of one exchange to the start of the next.
func (c *conn) tidy() {
	c.endLease()
	if up := &c.w.resp; up.u != nil {
		up.release() // if the handler forgot it
		up.u = nil
	}
	b := &c.w.body
	if !c.close && !b.eof.Load() {
		if whole, ok := b.whole(); ok && whole != nil {
			b.skip()
		} else if c.fd >= 0 || b.discard() != nil {
			c.close = true
		}
	}
	if c.close && !b.eof.Load() {
		c.lingering = true
	}
	x := &c.w.x
	x.Context, x.Sender, x.conn = nil, nil, nil
	c.scan = headScan{}
	if x.ended == 0 {
		x.ended = c.now()
	}
	c.enterAt(phaseIdle, x.ended)
}
