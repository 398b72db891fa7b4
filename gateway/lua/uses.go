package lua

import (
	"encoding/json"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
	"sluice/gateway/wire"
	"sluice/plugins"
)

// Functions are the functions of a plugin: chunks that each return a
// function(conf, ctx).
type Functions struct{ p *Program }

// Functions compiles sources and loads them once to see that they do return
// functions. conf is what they get as their first argument.
func (h *Host) Functions(sources []string, conf json.RawMessage) (*Functions, error) {
	p, err := h.build(functions, texts{"failed to loadstring: ", "pcall error: ", "only accept Lua function, the input code type is "},
		conf, sources, nil)
	if err != nil {
		return nil, err
	}
	if err := p.try(); err != nil {
		p.Close()
		return nil, err
	}
	return &Functions{p}, nil
}

// Close gives the functions back.
func (f *Functions) Close() { f.p.Close() }

// Call runs the functions in order until one returns a code or a body, prints,
// or exits: that is the reply. phase is its name in APISIX.
func (f *Functions) Call(c *plugins.Ctx, phase string) (*plugins.Reply, error) {
	s, err := f.p.h.enter(c, phase)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	ld, err := s.get(f.p)
	if err != nil {
		return s.result(err)
	}
	for _, fn := range ld.fns {
		s.l.Push(fn)
		s.l.Push(ld.conf)
		s.l.Push(s.ctx)
		if err := s.l.PCall(2, 2, nil); err != nil {
			return s.result(err)
		}
		code, body := s.l.Get(-2), s.l.Get(-1)
		s.l.Pop(2)
		if code != lua.LNil || body != lua.LNil {
			if err := s.finish(code, body); err != nil {
				return nil, err
			}
			return s.result(nil)
		}
		if s.exit.asked {
			break
		}
	}
	return s.result(nil)
}

// Observe runs the functions where no reply can be given: what they return or
// print is dropped.
func (f *Functions) Observe(c *plugins.Ctx, phase string) error {
	s, err := f.p.h.enter(c, phase)
	if err != nil {
		return err
	}
	defer s.leave()
	return s.observe(f.p, func(ld *loaded) error {
		for _, fn := range ld.fns {
			if err := s.call2(fn, ld.conf, s.ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Filter runs the functions on a piece of the response body (ngx.arg).
func (f *Functions) Filter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	s, err := f.p.h.enter(c, "body_filter")
	if err != nil {
		return nil, err
	}
	defer s.leave()
	s.setPiece(piece, last)
	err = s.observe(f.p, func(ld *loaded) error {
		for _, fn := range ld.fns {
			if err := s.call2(fn, ld.conf, s.ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return s.takePiece(piece), err
}

// PreFunction compiles a _meta.pre_function: a chunk that returns a
// function(conf, ctx).
func (h *Host) PreFunction(source string, conf json.RawMessage) (*Functions, error) {
	p, err := h.build(functions, texts{load: "failed to load _meta.pre_function: ", wrong: "pre_function should return a function, not "},
		conf, []string{source}, []string{"meta pre_function"})
	if err != nil {
		return nil, err
	}
	return &Functions{p}, nil
}

// observe runs do and forgives an exit.
func (s *state) observe(p *Program, do func(*loaded) error) error {
	ld, err := s.get(p)
	if err == nil {
		err = do(ld)
	}
	if err != nil && !s.exit.asked {
		return s.plain(err)
	}
	return nil
}

func (s *state) call2(f *lua.LFunction, a, b lua.LValue) error {
	s.l.Push(f)
	s.l.Push(a)
	s.l.Push(b)
	return s.l.PCall(2, 0, nil)
}

// Condition is a route's filter_func.
type Condition struct{ p *Program }

// Condition compiles the source of a function(vars).
func (h *Host) Condition(source string) (*Condition, error) {
	src := "return " + source
	p, err := h.build(functions, texts{load: "failed to load 'filter_func' string: ", wrong: "'filter_func' should be a function, got "},
		nil, []string{src}, nil)
	if err != nil {
		return nil, err
	}
	if err := p.try(); err != nil {
		p.Close()
		return nil, err
	}
	return &Condition{p}, nil
}

// Close gives the condition back.
func (f *Condition) Close() { f.p.Close() }

// Holds asks the function. One that fails does not hold, and is logged.
func (f *Condition) Holds(c *plugins.Ctx) bool {
	s, err := f.p.h.enter(c, "access")
	if err == nil {
		defer s.leave()
		var ld *loaded
		if ld, err = s.get(f.p); err == nil {
			var v lua.LValue
			if v, err = s.call1(ld.fns[0], s.vars); err == nil {
				return lua.LVAsBool(v)
			}
		}
	}
	c.Log().Error("filter_func failed, the route does not match", "err", plain(err))
	return false
}

// Script is the script of a route or service: a table of functions by phase.
type Script struct {
	p   *Program
	has map[string]bool
}

// Script compiles a script; name is the chunk's ("route#1").
func (h *Host) Script(source, name string) (*Script, error) {
	p, err := h.build(object, texts{load: "failed to load 'script' string: ", wrong: "'script' should be a Lua object"},
		nil, []string{source}, []string{name})
	if err != nil {
		return nil, err
	}
	sc := &Script{p: p, has: map[string]bool{}}
	s, err := h.enter(nil, "init")
	if err != nil {
		p.Close()
		return nil, err
	}
	ld, err := s.get(p)
	if err == nil {
		for _, phase := range [...]string{"access", "before_proxy", "header_filter", "body_filter", "log"} {
			sc.has[phase] = ld.object.RawGetString(phase).Type() == lua.LTFunction
		}
	}
	s.leave()
	if err != nil {
		p.Close()
		return nil, err
	}
	return sc, nil
}

// Close gives the script back.
func (sc *Script) Close() { sc.p.Close() }

// Phases are those that the script has functions for.
func (sc *Script) Phases() plugins.Phases {
	ph := plugins.Phases{Close: sc.Close}
	if sc.has["access"] {
		ph.Access = func(c *plugins.Ctx) (*plugins.Reply, error) { return sc.reply(c, "access") }
	}
	if sc.has["before_proxy"] {
		ph.BeforeProxy = func(c *plugins.Ctx) (*plugins.Reply, error) { return sc.reply(c, "before_proxy") }
	}
	if sc.has["header_filter"] {
		ph.HeaderFilter = func(c *plugins.Ctx) error { _, err := sc.run(c, "header_filter", nil, false); return err }
	}
	if sc.has["body_filter"] {
		ph.BodyFilter = func(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
			return sc.run(c, "body_filter", piece, last)
		}
	}
	if sc.has["log"] {
		ph.Log = func(c *plugins.Ctx) {
			if _, err := sc.run(c, "log", nil, false); err != nil {
				c.Log().Error("script failed", "err", err)
			}
		}
	}
	return ph
}

func (sc *Script) reply(c *plugins.Ctx, phase string) (*plugins.Reply, error) {
	s, err := sc.p.h.enter(c, phase)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	return s.result(sc.phase(s, phase))
}

func (sc *Script) run(c *plugins.Ctx, phase string, piece []byte, last bool) ([]byte, error) {
	s, err := sc.p.h.enter(c, phase)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	s.setPiece(piece, last)
	if err = sc.phase(s, phase); s.exit.asked {
		err = nil
	} else if err != nil {
		err = s.plain(err)
	}
	return s.takePiece(piece), err
}

func (sc *Script) phase(s *state, phase string) error {
	ld, err := s.get(sc.p)
	if err != nil {
		return err
	}
	f, ok := ld.object.RawGetString(phase).(*lua.LFunction)
	if !ok {
		return nil
	}
	s.l.Push(f)
	s.l.Push(s.ctx)
	return s.l.PCall(1, 0, nil)
}

// Transformer changes the responses that are made here: chunks that get (code,
// body, headers) and return the three.
type Transformer struct{ p *Program }

// Transformer compiles the chunks.
func (h *Host) Transformer(sources []string) (*Transformer, error) {
	p, err := h.build(whole, texts{}, nil, sources, nil)
	if err != nil {
		return nil, err
	}
	return &Transformer{p}, nil
}

// Close gives the chunks back.
func (t *Transformer) Close() { t.p.Close() }

// Apply returns rep as the chunks want it. A chunk that fails is logged and
// leaves it as it was.
func (t *Transformer) Apply(c *plugins.Ctx, rep *plugins.Reply) *plugins.Reply {
	for i := range t.p.protos {
		next, err := t.apply(c, i, rep)
		if err != nil {
			c.Log().Error("failed to run lua code", "err", err)
			continue
		}
		rep = next
	}
	return rep
}

func (t *Transformer) apply(c *plugins.Ctx, i int, rep *plugins.Reply) (*plugins.Reply, error) {
	s, err := t.p.h.enter(c, "access")
	if err != nil {
		return nil, err
	}
	defer s.leave()
	ld, err := s.get(t.p)
	if err != nil {
		return nil, s.plain(err)
	}
	body, err := s.replyBody(rep.Body)
	if err != nil {
		return nil, err
	}
	header := value.Table()
	for name, value := range rep.Header.All() {
		header.RawSetString(name, str(value))
	}
	s.l.Push(ld.fns[i])
	s.l.Push(lua.LNumber(rep.Status))
	s.l.Push(body)
	s.l.Push(header)
	if err := s.l.PCall(3, 3, nil); err != nil {
		return nil, s.plain(err)
	}
	code, newBody, newHeader := s.l.Get(-3), s.l.Get(-2), s.l.Get(-1)
	s.l.Pop(3)
	return s.transformed(rep, code, newBody, newHeader, newBody == body)
}

// transformed makes a reply of what a chunk returned. same says that the body
// is the one it got.
func (s *state) transformed(rep *plugins.Reply, code, body, header lua.LValue, same bool) (*plugins.Reply, error) {
	out := &plugins.Reply{Status: rep.Status}
	if n, ok := code.(lua.LNumber); ok {
		if err := checkStatus(int(n)); err != nil {
			return nil, err
		}
		out.Status = int(n)
	}
	switch b := body.(type) {
	case *lua.LTable:
		text, err := s.encode(b)
		if err != nil {
			return nil, err
		}
		out.Body = json.RawMessage(text)
	case *lua.LNilType:
	default:
		out.Body = b.String()
		if same {
			out.Body = rep.Body
		}
	}
	if t, ok := header.(*lua.LTable); ok {
		setFields(&out.Header, t)
	}
	return out, nil
}

// setFields puts name → value pairs into a header.
func setFields(h *wire.Header, t *lua.LTable) {
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if name, ok := k.(lua.LString); ok {
			setField(h, string(name), v)
		}
	}
}
