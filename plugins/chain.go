package plugins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	exact "github.com/go-json-experiment/json"

	"sluice/gateway/redact"
	"sluice/gateway/tally"
)

// Meta is the _meta member that every plugin configuration may carry. The
// runner applies it; no plugin ever sees it.
type Meta struct {
	Disable       bool            `json:"disable"`
	Priority      *int            `json:"priority"`
	Filter        json.RawMessage `json:"filter"`
	ErrorResponse any             `json:"error_response"`
	PreFunction   string          `json:"pre_function"`
	FailMode      FailMode        `json:"fail_mode"`
}

// MetaOf reads the _meta member of a plugin's configuration.
func MetaOf(conf json.RawMessage) (Meta, error) {
	var c struct {
		Meta Meta `json:"_meta"`
	}
	if emptyArray(conf) {
		return Meta{}, nil
	}
	if err := exact.Unmarshal(conf, &c, reading); err != nil {
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
	// Before runs before the functions of those phases that APISIX has, too, with
	// the phase's name there ("header_filter"); nil: nothing does.
	Before func(c *Ctx, phase string)
	// Open says that a request goes on without the instance when that fails
	// (_meta.fail_mode); otherwise it is answered 500.
	Open bool
	// Secrets must not be seen in what the instance logs or fails with.
	Secrets *redact.Texts
	// Book is where the instance is counted; nil: it is not.
	Book *tally.Book
}

// filtered is where the answer of an instance's Filter is kept on a request.
type filtered struct{ in *Instance }

func (in *Instance) takesPart(c *Ctx) bool {
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

// turn is an instance's part in one phase.
type turn struct {
	in *Instance
	at *tally.Counts
}

// step is a turn with what is done in it.
type step[F any] struct {
	turn
	do F
}

type (
	replyStep  = step[func(*Ctx) (*Reply, error)]
	headerStep = step[func(*Ctx) error]
	bodyStep   = step[BodyFunc]
	logStep    = step[func(*Ctx)]
)

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
	at := func(phase tally.Phase) turn { return turn{in, in.Book.Of(in.Spec.Name, phase)} }
	if p.Rewrite != nil {
		switch {
		case !added:
			ch.rewrite = append(ch.rewrite, replyStep{at(tally.Rewrite), p.Rewrite})
		case !in.Spec.Auth:
			ch.rewriteInConsumer = append(ch.rewriteInConsumer, replyStep{at(tally.RewriteInConsumer), p.Rewrite})
		}
	}
	if p.Access != nil {
		ch.access = append(ch.access, replyStep{at(tally.Access), p.Access})
	}
	if p.BeforeProxy != nil {
		ch.beforeProxy = append(ch.beforeProxy, replyStep{at(tally.BeforeProxy), p.BeforeProxy})
	}
	if p.Received != nil {
		ch.received = append(ch.received, headerStep{at(tally.Received), p.Received})
	}
	if p.HeaderFilter != nil {
		ch.header = append(ch.header, headerStep{at(tally.HeaderFilter), p.HeaderFilter})
	}
	if p.DelayedHeader != nil {
		ch.delayedHeader = append(ch.delayedHeader, headerStep{at(tally.DelayedHeader), p.DelayedHeader})
	}
	if p.BodyFilter != nil {
		ch.body = append(ch.body, bodyStep{at(tally.BodyFilter), p.BodyFilter})
	}
	if p.DelayedBody != nil {
		ch.delayed = append(ch.delayed, bodyStep{at(tally.DelayedBody), p.DelayedBody})
	}
	if p.Log != nil {
		ch.log = append(ch.log, logStep{at(tally.Log), p.Log})
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
