package lua

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// kind is what a program's chunks are.
type kind uint8

const (
	functions kind = iota // each returns a function
	object                // one, returning a table of functions
	whole                 // functions themselves
)

// Program is Lua from one place of the configuration: compiled, and loaded into
// each state that comes to run it. What its chunks keep outside of their
// functions lives as long as the state; every state has its own.
type Program struct {
	h       *Host
	kind    kind
	sources []string
	names   []string
	protos  []*lua.FunctionProto
	conf    json.RawMessage
	closed  atomic.Bool
	texts   texts
}

// texts are how a kind of program words its faults.
type texts struct{ load, run, wrong string }

// build compiles the sources. names are those of the chunks; nil: their sources.
func (h *Host) build(k kind, t texts, conf json.RawMessage, sources, names []string) (*Program, error) {
	p := &Program{h: h, kind: k, conf: conf, texts: t}
	for i, src := range sources {
		name := src
		if names != nil {
			name = names[i]
		}
		proto, err := h.proto(src, name)
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("%s%w", t.load, err)
		}
		p.sources, p.names, p.protos = append(p.sources, src), append(p.names, name), append(p.protos, proto)
	}
	return p, nil
}

// try loads the program once, outside of any request.
func (p *Program) try() error {
	s, err := p.h.enter(nil, "init")
	if err != nil {
		return err
	}
	_, err = s.get(p)
	s.leave()
	return err
}

// Close lets the states forget the program.
func (p *Program) Close() {
	if p.closed.Swap(true) {
		return
	}
	for i := range p.protos {
		p.h.forget(p.sources[i], p.names[i])
	}
	p.h.closedPrograms.Add(1)
}

// accept takes what a chunk returned.
func (p *Program) accept(ld *loaded, v lua.LValue) error {
	switch p.kind {
	case functions:
		f, ok := v.(*lua.LFunction)
		if !ok {
			return fmt.Errorf("%s%s", p.texts.wrong, v.Type())
		}
		ld.fns = append(ld.fns, f)
	case object:
		t, ok := v.(*lua.LTable)
		if !ok {
			return errors.New(p.texts.wrong)
		}
		ld.object = t
	}
	return nil
}

// word makes an error of the interpreter presentable.
func (p *Program) word(err error) error {
	return fmt.Errorf("%s%w", p.texts.run, plain(err))
}

// plain is an error of the interpreter without its stack trace: the text has
// the chunk's name and the line.
func plain(err error) error {
	var api *lua.ApiError
	if errors.As(err, &api) && api.Object != nil && api.Object != lua.LNil {
		return errors.New(lua.LVAsString(text(api.Object)))
	}
	return err
}

// plain is the error with the chunk's name in front, where it has no place.
func (s *state) plain(err error) error {
	err = plain(err)
	if s.cur == nil || s.cur.name == "" || strings.Contains(err.Error(), "[string ") {
		return err
	}
	return fmt.Errorf("%s: %w", s.cur.name, err)
}

func text(v lua.LValue) lua.LValue {
	switch v.(type) {
	case lua.LString, lua.LNumber:
		return v
	}
	return lua.LString(v.String())
}

// enter takes a state for a call on the walk of c, which may be nil.
func (h *Host) enter(c *plugins.Ctx, phase string) (*state, error) {
	ctx := context.Context(nil)
	if c != nil {
		ctx = c.Context
		c.Leave() // code may wait, for a state to begin with
	}
	s, err := h.take(ctx)
	if err != nil {
		return nil, err
	}
	s.sweep()
	s.c, s.phase = c, phase
	s.restore()
	s.b.Start(h.o.Budget)
	return s, nil
}

// leave ends the call: nothing of it stays in the state.
func (s *state) leave() {
	if !s.b.Stop() {
		s.spoilt = true
	}
	s.keep()
	if s.cur != nil {
		s.empty(s.cur.env)
	}
	timers := s.timers
	out := s.out
	s.call = call{out: out[:0]}
	if cap(out) > 64<<10 {
		s.out = nil
	}
	s.l.SetTop(0)
	if len(timers) > 0 {
		s.runLater(timers)
		return
	}
	s.h.give(s)
}

// result is what a call asks for by exit; nil when the walk shall go on. What it
// printed goes to the request.
func (s *state) result(err error) (*plugins.Reply, error) {
	if err != nil && !s.exit.asked {
		return nil, s.plain(err)
	}
	if s.printed {
		s.c.Print(s.status, s.out)
	}
	switch {
	case !s.exit.asked, s.exit.reply == nil && s.exit.code == 0:
		return nil, nil
	case s.exit.reply != nil:
		return s.exit.reply, nil
	case s.exit.code < 0:
		return &plugins.Reply{Status: 500}, nil
	}
	return &plugins.Reply{Status: s.exit.code}, nil
}

// replyBody is the body of a reply as Lua sees it: a text, a table or nil.
func (s *state) replyBody(body any) (lua.LValue, error) {
	switch b := body.(type) {
	case nil:
		return lua.LNil, nil
	case string:
		return lua.LString(b), nil
	case []byte:
		return lua.LString(b), nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		return lua.LNil, err
	}
	return value.Decode(b)
}

// encode is the JSON of a value.
func (s *state) encode(v lua.LValue) ([]byte, error) {
	e := value.Encoder{Limit: s.h.o.Output, Array: s.arrayMT}
	return e.Encode(v)
}
