package plugins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Meta is the _meta member that every plugin configuration may carry. The
// runner applies it; no plugin ever sees it.
type Meta struct {
	Disable       bool            `json:"disable"`
	Priority      *int            `json:"priority"`
	Filter        json.RawMessage `json:"filter"`
	ErrorResponse any             `json:"error_response"`
	PreFunction   string          `json:"pre_function"`
}

// MetaOf reads the _meta member of a plugin's configuration.
func MetaOf(conf json.RawMessage) (Meta, error) {
	var c struct {
		Meta Meta `json:"_meta"`
	}
	if emptyArray(conf) {
		return Meta{}, nil
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return Meta{}, fmt.Errorf("_meta: %w", err)
	}
	return c.Meta, nil
}

// Instance is one configured plugin, ready to run. It is immutable and may
// stand in many chains at once.
type Instance struct {
	Spec     *Spec
	Key      string // Env.Key
	Priority int    // the Spec's, or _meta.priority
	Phases   Phases
	// Filter says whether the instance takes part in a request; nil: always.
	// It is asked once per request.
	Filter func(*Ctx) bool
	// ErrorResponse replaces the body of a reply of 400 or more; nil: it does not.
	ErrorResponse any
	// Before runs before each phase function of the instance, with the phase's
	// name in configuration ("header_filter"); nil: nothing does.
	Before func(c *Ctx, phase string)
}

// filtered is where the answer of an instance's Filter is kept on a request.
type filtered struct{ in *Instance }

func (in *Instance) takesPart(c *Ctx) bool {
	if in.Filter == nil {
		return true
	}
	key := filtered{in}
	if v, ok := c.values[key]; ok {
		return v.(bool)
	}
	ok := in.Filter(c)
	c.SetValue(key, ok)
	return ok
}

// Chain runs the instances of one route (or of the global rules), phase by
// phase, highest priority first: one flat list per phase. Immutable.
type Chain struct {
	rewrite, access, beforeProxy []replyStep
	rewriteInConsumer            []replyStep
	received                     []headerStep
	header, delayedHeader        []headerStep
	body, delayed                []bodyStep
	log                          []logStep
	names                        map[string]bool
	instances                    []*Instance
}

type replyStep struct {
	in *Instance
	do func(*Ctx) (*Reply, error)
}
type headerStep struct {
	in *Instance
	do func(*Ctx) error
}
type bodyStep struct {
	in *Instance
	do BodyFunc
}
type logStep struct {
	in *Instance
	do func(*Ctx)
}

// Empty is the chain without plugins.
var Empty = NewChain(nil, nil)

// NewChain sorts instances by priority and lays out the phases. added names
// those that only the consumer brought: they run in RewriteInConsumer instead
// of Rewrite, because that phase is over when the consumer is known; auth
// plugins never run there.
func NewChain(instances []*Instance, added func(*Instance) bool) *Chain {
	sorted := slices.Clone(instances)
	slices.SortStableFunc(sorted, func(a, b *Instance) int { return cmp.Compare(b.Priority, a.Priority) })
	ch := &Chain{instances: sorted, names: make(map[string]bool, len(sorted))}
	for _, in := range sorted {
		ch.names[in.Spec.Name] = true
		ch.place(in, added != nil && added(in))
	}
	return ch
}

func (ch *Chain) place(in *Instance, added bool) {
	p := &in.Phases
	if in.Before != nil {
		p = in.preceded()
	}
	if p.Rewrite != nil {
		switch {
		case !added:
			ch.rewrite = append(ch.rewrite, replyStep{in, p.Rewrite})
		case !in.Spec.Auth:
			ch.rewriteInConsumer = append(ch.rewriteInConsumer, replyStep{in, p.Rewrite})
		}
	}
	if p.Access != nil {
		ch.access = append(ch.access, replyStep{in, p.Access})
	}
	if p.BeforeProxy != nil {
		ch.beforeProxy = append(ch.beforeProxy, replyStep{in, p.BeforeProxy})
	}
	if p.Received != nil {
		ch.received = append(ch.received, headerStep{in, p.Received})
	}
	if p.HeaderFilter != nil {
		ch.header = append(ch.header, headerStep{in, p.HeaderFilter})
	}
	if p.DelayedHeader != nil {
		ch.delayedHeader = append(ch.delayedHeader, headerStep{in, p.DelayedHeader})
	}
	if p.BodyFilter != nil {
		ch.body = append(ch.body, bodyStep{in, p.BodyFilter})
	}
	if p.DelayedBody != nil {
		ch.delayed = append(ch.delayed, bodyStep{in, p.DelayedBody})
	}
	if p.Log != nil {
		ch.log = append(ch.log, logStep{in, p.Log})
	}
}

// preceded are the phases of an instance, each with Before in front.
func (in *Instance) preceded() *Phases {
	p, before := in.Phases, in.Before
	reply := func(phase string, do func(*Ctx) (*Reply, error)) func(*Ctx) (*Reply, error) {
		if do == nil {
			return nil
		}
		return func(c *Ctx) (*Reply, error) { before(c, phase); return do(c) }
	}
	body := func(phase string, do BodyFunc) BodyFunc {
		if do == nil {
			return nil
		}
		return func(c *Ctx, piece []byte, last bool) ([]byte, error) { before(c, phase); return do(c, piece, last) }
	}
	p.Rewrite, p.Access = reply("rewrite", p.Rewrite), reply("access", p.Access)
	p.BeforeProxy = reply("before_proxy", p.BeforeProxy)
	if do := p.HeaderFilter; do != nil {
		p.HeaderFilter = func(c *Ctx) error { before(c, "header_filter"); return do(c) }
	}
	p.BodyFilter, p.DelayedBody = body("body_filter", p.BodyFilter), body("delayed_body_filter", p.DelayedBody)
	if do := p.Log; do != nil {
		p.Log = func(c *Ctx) { before(c, "log"); do(c) }
	}
	return &p
}

// Has reports whether a plugin stands in the chain.
func (ch *Chain) Has(name string) bool { return ch.names[name] }

// Instances are those of the chain, in the order of running.
func (ch *Chain) Instances() []*Instance { return ch.instances }

// Rewrite runs the rewrite phase. A reply ends the walk.
func (ch *Chain) Rewrite(c *Ctx) (*Reply, error) { return ch.run(c, ch.rewrite) }

// RewriteInConsumer runs the rewrite phase of what the consumer added.
func (ch *Chain) RewriteInConsumer(c *Ctx) (*Reply, error) { return ch.run(c, ch.rewriteInConsumer) }

// Access runs the access phase.
func (ch *Chain) Access(c *Ctx) (*Reply, error) { return ch.run(c, ch.access) }

// BeforeProxy runs before each try at an upstream.
func (ch *Chain) BeforeProxy(c *Ctx) (*Reply, error) { return ch.run(c, ch.beforeProxy) }

func (ch *Chain) run(c *Ctx, steps []replyStep) (*Reply, error) {
	for i := range steps {
		s := &steps[i]
		if c.skips(s.in) || !s.in.takesPart(c) {
			continue
		}
		c.running = s.in
		rep, err := s.do(c)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", s.in.Spec.Name, err)
		}
		if rep != nil {
			if _, stored := rep.Body.(*Content); rep.Status >= 400 && s.in.ErrorResponse != nil && !stored {
				rep = &Reply{Status: rep.Status, Header: rep.Header, Body: s.in.ErrorResponse}
			}
			return rep, nil
		}
	}
	c.running = nil
	return nil, nil
}

// Received runs when an upstream's response header is in c.Resp, as it came.
func (ch *Chain) Received(c *Ctx) error { return runHeader(c, ch.received) }

// HeaderFilter runs once the response header is in c.Resp. An error of one
// instance does not keep the others from running; the first is returned.
func (ch *Chain) HeaderFilter(c *Ctx) error { return runHeader(c, ch.header) }

// DelayedHeader runs after every HeaderFilter, in the same way.
func (ch *Chain) DelayedHeader(c *Ctx) error { return runHeader(c, ch.delayedHeader) }

func runHeader(c *Ctx, steps []headerStep) error {
	var first error
	for i := range steps {
		h := &steps[i]
		if c.skips(h.in) || !h.in.takesPart(c) {
			continue
		}
		c.running = h.in
		if err := h.do(c); err != nil && first == nil {
			first = fmt.Errorf("plugin %s: %w", h.in.Spec.Name, err)
		}
	}
	c.running = nil
	return first
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
	var err error
	for i := range fs {
		f := &fs[i]
		if c.skips(f.in) || !f.in.takesPart(c) {
			continue
		}
		c.running = f.in
		if piece, err = f.do(c, piece, last); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", f.in.Spec.Name, err)
		}
	}
	c.running = nil
	return piece, nil
}

// Log runs after the response was sent, or given up.
func (ch *Chain) Log(c *Ctx) {
	for i := range ch.log {
		l := &ch.log[i]
		if c.skips(l.in) || !l.in.takesPart(c) {
			continue
		}
		c.running = l.in
		l.do(c)
	}
	c.running = nil
}
