package lua

import (
	"time"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/budget"
	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// state is one interpreter. It serves one call at a time, on one goroutine.
type state struct {
	h      *Host
	l      *lua.LState
	b      *budget.Budget
	spoilt bool // must not be used again

	libs    map[string]*lua.LTable // as they are; programs see shades of them
	shades  map[*lua.LTable]*lua.LTable
	strMT   *lua.LTable
	stop    *lua.LUserData // thrown to end a call in the middle
	arrayMT *lua.LTable    // cjson.array_mt

	newThread, runThread lua.LGFunction // coroutine.create and resume as the interpreter has them
	threadMain           *lua.LFunction // makes the first function of a coroutine

	loaded map[*Program]*loaded
	seen   int64 // Host.closedPrograms when loaded was last swept

	call // what belongs to the call under way
	views
}

// call is cleared after each call.
type call struct {
	c       *plugins.Ctx // nil outside of requests
	cur     *loaded
	phase   string
	out     []byte // printed
	printed bool
	status  int // ngx.status, as set
	exit    exit
	piece   lua.LValue // ngx.arg of a body filter
	last    bool
	touched bool // ngx.arg was assigned
	timers  []timer
	built   int           // bytes of texts
	blocked time.Duration // spent asleep or talking to others
	pairs   map[string]lua.LValue

	nested    int // coroutines that wait for one that they resumed
	protected int // calls of pcall and xpcall that the running coroutine is in
}

// exit is how a call asked for the end of the request.
type exit struct {
	asked bool
	code  int
	reply *plugins.Reply // nil: made of code and what was printed
}

// loaded is a program as it lives in one state.
type loaded struct {
	name    string      // of its first chunk, as errors have it
	env     *lua.LTable // globals of the call; empty between calls
	globals *lua.LTable // those that loading made, and the libraries
	modules map[string]lua.LValue
	fns     []*lua.LFunction // what the chunks returned, or the chunks themselves
	object  *lua.LTable      // what a script returned
	conf    lua.LValue
}

func newState(h *Host) *state {
	s := &state{h: h, b: budget.New(h.o.Memory), libs: map[string]*lua.LTable{}, shades: map[*lua.LTable]*lua.LTable{},
		loaded: map[*Program]*loaded{}, seen: h.closedPrograms.Load()}
	s.l = lua.NewState(lua.Options{SkipOpenLibs: true, CallStackSize: 1000, RegistrySize: 1 << 10,
		RegistryMaxSize: 1 << 16, RegistryGrowStep: 1 << 10, MinimizeStackMemory: true})
	s.l.SetContext(s.b)
	s.stop = s.l.NewUserData()
	s.standard()
	s.makeViews()
	s.libs["ngx"] = s.makeNgx()
	return s
}

// table makes a table of functions.
func (s *state) table(fns map[string]lua.LGFunction) *lua.LTable { return lib.Table(s.l, fns) }

// hooks makes a table whose fields are read and written by functions.
func (s *state) hooks(index, newindex lua.LGFunction) *lua.LTable {
	t := value.Table()
	t.Metatable = s.hookMeta(index, newindex)
	s.hooked = append(s.hooked, t)
	return t
}

func (s *state) hookMeta(index, newindex lua.LGFunction) *lua.LTable {
	mt := s.l.CreateTable(0, 3)
	mt.RawSetString("__index", s.l.NewFunction(index))
	if newindex != nil {
		mt.RawSetString("__newindex", s.l.NewFunction(newindex))
	}
	mt.RawSetString("__metatable", lua.LFalse)
	return mt
}

// shade is a table that reads through to lib and keeps what is written to it:
// each program gets its own, so that none can change a library for another.
func (s *state) shade(lib *lua.LTable) *lua.LTable {
	t := value.Table()
	mt := s.shades[lib]
	if mt == nil {
		mt = s.l.CreateTable(0, 4)
		mt.RawSetString("__index", lib)
		mt.RawSetString("__metatable", lua.LFalse)
		if own, ok := lib.Metatable.(*lua.LTable); ok {
			mt.RawSetString("__newindex", own.RawGetString("__newindex"))
			mt.RawSetString("__call", own.RawGetString("__call"))
		}
		s.shades[lib] = mt
	}
	t.Metatable = mt
	for k, v := lib.Next(lua.LNil); k != lua.LNil; k, v = lib.Next(k) {
		if sub, ok := v.(*lua.LTable); ok && sub.Metatable == lua.LNil {
			t.RawSet(k, s.shade(sub))
		}
	}
	return t
}

// environment makes the globals of a program.
func (s *state) environment() *loaded {
	ld := &loaded{env: value.Table(), globals: s.l.CreateTable(0, 48), modules: map[string]lua.LValue{}}
	base := s.libs["_G"]
	for k, v := base.Next(lua.LNil); k != lua.LNil; k, v = base.Next(k) {
		ld.globals.RawSet(k, v)
	}
	for _, name := range [...]string{"string", "table", "math", "os", "coroutine", "ngx", "bit", "debug"} {
		t := s.shade(s.libs[name])
		ld.globals.RawSetString(name, t)
		ld.modules[name] = t
	}
	ld.globals.RawSetString("_G", ld.env)
	mt := value.Table()
	mt.RawSetString("__index", ld.globals)
	mt.RawSetString("__metatable", lua.LFalse)
	ld.env.Metatable = mt
	return ld
}

// settle makes the globals that loading wrote lasting ones.
func (s *state) settle(ld *loaded) {
	for k, v := ld.env.Next(lua.LNil); k != lua.LNil; k, v = ld.env.Next(k) {
		ld.globals.RawSet(k, v)
	}
	s.empty(ld.env)
}

// function makes a function of a prototype that lives in the program's globals.
func (s *state) function(p *lua.FunctionProto, env *lua.LTable) *lua.LFunction {
	f := s.l.NewFunctionFromProto(p)
	f.Env = env
	return f
}

// get returns the program as it lives in this state, loading it when need be.
func (s *state) get(p *Program) (*loaded, error) {
	if ld := s.loaded[p]; ld != nil {
		s.cur = ld
		return ld, nil
	}
	ld := s.environment()
	s.cur = ld
	ld.conf = lua.LNil
	if len(p.protos) > 0 {
		ld.name = p.protos[0].SourceName
	}
	if p.conf != nil {
		v, err := value.Decode(p.conf)
		if err != nil {
			return nil, err
		}
		ld.conf = v
	}
	for _, proto := range p.protos {
		main := s.function(proto, ld.env)
		if p.kind == whole {
			ld.fns = append(ld.fns, main)
			continue
		}
		v, err := s.call1(main)
		if err != nil {
			return nil, p.word(err)
		}
		if err := p.accept(ld, v); err != nil {
			return nil, err
		}
	}
	s.settle(ld)
	s.loaded[p] = ld
	return ld, nil
}

// call1 calls f and returns its first result.
func (s *state) call1(f *lua.LFunction, args ...lua.LValue) (lua.LValue, error) {
	s.l.Push(f)
	for _, a := range args {
		s.l.Push(a)
	}
	if err := s.l.PCall(len(args), 1, nil); err != nil {
		return lua.LNil, err
	}
	v := s.l.Get(-1)
	s.l.Pop(1)
	return v, nil
}

// over reports whether the call must end, whatever the program would catch.
func (s *state) over() bool { return s.exit.asked || s.b.Err() != nil }

// sweep forgets programs that were closed.
func (s *state) sweep() {
	now := s.h.closedPrograms.Load()
	if now == s.seen {
		return
	}
	s.seen = now
	for p := range s.loaded {
		if p.closed.Load() {
			delete(s.loaded, p)
		}
	}
}
