package plugins

import "sluice/gateway/tally"

// Rewrite runs the rewrite phase. A reply ends the walk.
func (ch *Chain) Rewrite(c *Ctx) (*Reply, error) { return run(c, ch.rewrite) }

// RewriteInConsumer runs the rewrite phase of what the consumer added.
func (ch *Chain) RewriteInConsumer(c *Ctx) (*Reply, error) { return run(c, ch.rewriteInConsumer) }

// Access runs the access phase.
func (ch *Chain) Access(c *Ctx) (*Reply, error) { return run(c, ch.access) }

// BeforeProxy runs before each try at an upstream.
func (ch *Chain) BeforeProxy(c *Ctx) (*Reply, error) { return run(c, ch.beforeProxy) }

// run runs one phase. What runs the steps comes back at a reply and at a
// failure, behind which a request may go on.
func run(c *Ctx, steps []replyStep) (*Reply, error) {
	for i := 0; i < len(steps); i++ {
		rep, err := runReplies(c, steps, &i)
		if rep != nil {
			return c.replied(&steps[i].turn, rep), nil
		}
		if err != nil {
			if err = c.failed(&steps[i].turn, err); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// runReplies runs the steps from *at on; *at is where it stopped. A panic is an
// error like any other.
func runReplies(c *Ctx, steps []replyStep, at *int) (rep *Reply, err error) {
	defer recovered(c, &err)
	c.begins()
	for ; *at < len(steps); *at++ {
		s := &steps[*at]
		if !c.enters(s.in) {
			continue
		}
		if rep, err = s.do(c); rep != nil || err != nil {
			break
		}
		c.leaves(s.at)
	}
	c.running = nil
	return rep, err
}

// replied takes note of a reply and words it as configured.
func (c *Ctx) replied(s *turn, rep *Reply) *Reply {
	s.at.Reply(&c.timeline)
	if c.timeline.On() {
		c.timeline.Step(s.at)
		c.timeline.Replied(max(rep.Status, 0))
	}
	if _, stored := rep.Body.(*Content); rep.Status >= 400 && s.in.ErrorResponse != nil && !stored {
		rep = &Reply{Status: rep.Status, Header: rep.Header, Body: s.in.ErrorResponse}
	}
	return rep
}

// Received runs when an upstream's response header is in c.Resp, as it came.
func (ch *Chain) Received(c *Ctx) error { return runHeader(c, ch.received) }

// HeaderFilter runs once the response header is in c.Resp. An error of one
// instance does not keep the others from running; the first is returned.
func (ch *Chain) HeaderFilter(c *Ctx) error { return runHeader(c, ch.header) }

// DelayedHeader runs after every HeaderFilter, in the same way.
func (ch *Chain) DelayedHeader(c *Ctx) error { return runHeader(c, ch.delayedHeader) }

func runHeader(c *Ctx, steps []headerStep) (first error) {
	for i := 0; i < len(steps); i++ {
		err := runHeaders(c, steps, &i)
		if err == nil {
			break
		}
		s := &steps[i].turn
		if s.in.Open {
			c.header.restore(c.Resp)
		}
		if err = c.failed(s, err); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func runHeaders(c *Ctx, steps []headerStep, at *int) (err error) {
	defer recovered(c, &err)
	c.begins()
	for ; *at < len(steps); *at++ {
		s := &steps[*at]
		if !c.enters(s.in) {
			continue
		}
		if s.in.Open {
			err = kept(c, s)
		} else {
			err = s.do(c)
		}
		if err != nil {
			break
		}
		c.leaves(s.at)
	}
	c.running = nil
	return err
}

// FiltersBody says whether any instance looks at the response body. When none
// does, the engine copies it straight through.
func (ch *Chain) FiltersBody() bool { return len(ch.body)+len(ch.delayed) > 0 }

// BodyFilter passes a piece of the response body through every BodyFilter.
func (ch *Chain) BodyFilter(c *Ctx, piece []byte, last bool) ([]byte, error) {
	return runFilters(c, ch.body, piece, last)
}

// DelayedBody passes a piece through every DelayedBody.
func (ch *Chain) DelayedBody(c *Ctx, piece []byte, last bool) ([]byte, error) {
	return runFilters(c, ch.delayed, piece, last)
}

func runFilters(c *Ctx, fs []bodyStep, piece []byte, last bool) ([]byte, error) {
	for i := 0; i < len(fs); i++ {
		var err error
		if piece, err = runBodies(c, fs, &i, piece, last); err == nil {
			break
		}
		if s := &fs[i].turn; s.in.Open && c.touched(s.in) {
			return nil, c.fails(s, err) // the client has part of what it made of the body
		} else if err = c.failed(s, err); err != nil {
			return nil, err
		}
	}
	return piece, nil
}

// runBodies runs the steps from *at on. After a failure out is the piece as the
// step that failed was given it.
func runBodies(c *Ctx, fs []bodyStep, at *int, piece []byte, last bool) (out []byte, err error) {
	defer recovered(c, &err)
	if c.timeline.On() {
		c.timeline.Mark()
	}
	out = piece
	for ; *at < len(fs); *at++ {
		s := &fs[*at]
		if !c.enters(s.in) {
			continue
		}
		next, err := s.do(c, out, last)
		if err != nil {
			c.running = nil
			return out, err
		}
		if s.in.Open && !same(out, next) {
			c.touch(s.in)
		}
		out = next
		c.leaves(s.at)
	}
	c.running = nil
	return out, nil
}

// Log runs after the response was sent, or given up. There is nothing left to
// answer: a failure is logged, and the others run.
func (ch *Chain) Log(c *Ctx) {
	for i := 0; i < len(ch.log); i++ {
		err := runLogs(c, ch.log, &i)
		if err == nil {
			break
		}
		f := c.fails(&ch.log[i].turn, err)
		f.log(c, "plugin failed in the log phase")
	}
}

func runLogs(c *Ctx, steps []logStep, at *int) (err error) {
	defer recovered(c, &err)
	c.begins()
	for ; *at < len(steps); *at++ {
		l := &steps[*at]
		if !c.enters(l.in) {
			continue
		}
		l.do(c)
		c.leaves(l.at)
	}
	c.running = nil
	return nil
}

// begins starts the clock of a phase.
func (c *Ctx) begins() {
	if c.timeline.On() {
		c.timeline.Mark()
	}
}

// enters reports whether an instance takes part, and takes note that it runs.
func (c *Ctx) enters(in *Instance) bool {
	if c.skips(in) || in.Filter != nil && !in.takesPart(c) {
		return false
	}
	c.running = in
	return true
}

// leaves takes the time of a step.
func (c *Ctx) leaves(at *tally.Counts) {
	if c.timeline.On() {
		c.timeline.Step(at)
	}
}

// Timeline has the times of the request's plugins, when they are taken.
func (c *Ctx) Timeline() *tally.Timeline { return &c.timeline }
