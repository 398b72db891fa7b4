package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"unsafe"

	"sluice/gateway/tally"
	"sluice/gateway/wire"
)

// FailMode is _meta.fail_mode: what a request does when the plugin fails.
type FailMode string

// The modes; "" is Closed.
const (
	FailClosed FailMode = "closed" // the request is answered 500
	FailOpen   FailMode = "open"   // it goes on without the plugin
)

// UnmarshalJSON knows the two modes only.
func (m *FailMode) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s != string(FailClosed) && s != string(FailOpen) {
		return fmt.Errorf("fail_mode %s: it is either \"open\" or \"closed\"", b)
	}
	*m = FailMode(s)
	return nil
}

// Check refuses to leave a door open: a plugin that says who the client is must
// not be left out.
func (m FailMode) Check(s *Spec) error {
	if m == FailOpen && s.Auth {
		return fmt.Errorf("_meta.fail_mode \"open\": %s authenticates, without it everybody would get in", s.Name)
	}
	return nil
}

// Failure is an error or a panic of a plugin. Its text is free of the
// instance's secrets.
type Failure struct {
	Plugin string
	Phase  tally.Phase
	Kind   tally.Kind
	Err    error
	Stack  []byte // of a panic
}

func (f *Failure) Error() string { return "plugin " + f.Plugin + ": " + f.Err.Error() }

// Unwrap is the plugin's error.
func (f *Failure) Unwrap() error { return f.Err }

// log writes the failure of a request that goes on.
func (f *Failure) log(c *Ctx, msg string) {
	l := c.Log().With("plugin", f.Plugin, "phase", f.Phase.String(), "err", f.Err)
	if f.Kind == tally.Panic {
		l = l.With("stack", string(f.Stack))
	}
	l.Error(msg)
}

// panicked is a panic on its way to become a Failure.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// recovered makes an error of a panic.
func recovered(c *Ctx, err *error) {
	if p := recover(); p != nil {
		*err = &panicked{p, debug.Stack()}
		c.running = nil
	}
}

// Make is New for callers who must outlive it: a panic is an error.
func (s *Spec) Make(conf json.RawMessage, env *Env) (p Phases, err error) {
	defer s.unmade(&err)
	return s.New(conf, env)
}

// MakeConsumer is NewConsumer for callers who must outlive it.
func (s *Spec) MakeConsumer(conf json.RawMessage) (v any, err error) {
	defer s.unmade(&err)
	return s.NewConsumer(conf)
}

// unmade makes an error of a panic. The stack is in it: this must not happen,
// and whoever reads of it wants to know where it did.
func (s *Spec) unmade(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: panic in its constructor: %v\n%s", s.Name, p, debug.Stack())
	}
}

// fails counts a failure. What only looks like one, because the client sent too
// much or is gone, is not counted; it ends the request in either mode.
func (c *Ctx) fails(s *turn, err error) *Failure {
	f := &Failure{Plugin: s.in.Spec.Name, Phase: s.at.Phase, Err: s.in.Secrets.Error(err)}
	if p := (*panicked)(nil); errors.As(err, &p) {
		f.Kind, f.Stack = tally.Panic, p.stack
	}
	if c.timeline.On() {
		c.timeline.Step(s.at)
		c.timeline.Failed()
	}
	if f.Kind == tally.Panic || !c.clients(err) {
		s.at.Fail(&c.timeline, f.Kind)
	}
	return f
}

// clients reports whether an error is the client's doing.
func (c *Ctx) clients(err error) bool {
	var e *wire.Error
	var tooLarge *BodyTooLargeError
	return errors.As(err, &tooLarge) || errors.As(err, &e) && e.Side == wire.Client ||
		c.Context != nil && c.Err() != nil && errors.Is(err, context.Canceled)
}

// failed is nil when the request goes on without the instance.
func (c *Ctx) failed(s *turn, err error) error {
	f := c.fails(s, err)
	if !s.in.Open || f.Kind == tally.Error && c.clients(err) {
		return f
	}
	f.log(c, "plugin failed, the request goes on without it")
	c.dropped = append(c.dropped, s.in)
	return nil
}

// touch takes note that the instance has changed or held back some of the body,
// so that it cannot be left out any more.
func (c *Ctx) touch(in *Instance) {
	if !c.touched(in) {
		c.changed = append(c.changed, in)
	}
}

func (c *Ctx) touched(in *Instance) bool { return slices.Contains(c.changed, in) }

// same reports whether a filter returned the very piece that it was given.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || unsafe.SliceData(a) == unsafe.SliceData(b))
}

// keptHeader is a response's header as it was before an instance that may fail.
type keptHeader struct {
	held   bool // the instance has begun, and not ended well
	status int
	length int64
	fields []wire.Field
}

func (k *keptHeader) keep(r *wire.Response) {
	k.held, k.status, k.length, k.fields = true, r.Status, r.ContentLength, k.fields[:0]
	for i := range r.Header.Len() {
		k.fields = append(k.fields, r.Header.At(i))
	}
}

// restore does nothing when the instance had not begun: what is kept then is
// from before another one, if not from another response.
func (k *keptHeader) restore(r *wire.Response) {
	if !k.held {
		return
	}
	k.held = false
	r.Status, r.ContentLength = k.status, k.length
	r.Header.Reset()
	for _, f := range k.fields {
		r.Header.Add(f.Name, f.Value)
	}
}

// coding is what the header says about how the body is to be read.
func (k *keptHeader) coding() (string, string) {
	var encoding, kind string
	for _, f := range k.fields {
		switch {
		case wire.EqualFold(f.Name, "Content-Encoding"):
			encoding = f.Value
		case wire.EqualFold(f.Name, "Content-Type"):
			kind = f.Value
		}
	}
	return encoding, kind
}

// kept runs a header filter whose changes can be taken back. One that
// announces another body than there is has to deliver it.
func kept(c *Ctx, s *headerStep) error {
	r := c.Resp
	c.header.keep(r)
	if err := s.do(c); err != nil {
		return err
	}
	c.header.held = false
	encoding, kind := c.header.coding()
	if r.ContentLength >= 0 && r.ContentLength != c.header.length ||
		r.Header.Get("Content-Encoding") != encoding || r.Header.Get("Content-Type") != kind {
		c.touch(s.in)
	}
	return nil
}
