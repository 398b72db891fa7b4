package lua

import (
	lua "github.com/yuin/gopher-lua"
)

// maxNested is how many coroutines may wait for each other. Each costs stack of
// the goroutine, which must never run out: that would be the end of the process.
const maxNested = 200

// coroutines puts functions into the library that keep coroutines within the
// bounds of their call, and pass on what must end all of it.
func (s *state) coroutines() {
	co := s.libs["coroutine"]
	own := func(name string) lua.LGFunction { return co.RawGetString(name).(*lua.LFunction).GFunction }
	s.newThread, s.runThread = own("create"), own("resume")
	s.l.Push(s.function(s.embedded(s.l, "coroutine"), s.libs["_G"]))
	s.l.Call(0, 1)
	s.threadMain = s.l.CheckFunction(-1)
	s.l.SetTop(0)
	for name, f := range map[string]lua.LGFunction{"create": s.create, "resume": s.resume, "wrap": s.wrap, "yield": s.yield} {
		co.RawSetString(name, s.l.NewFunction(f))
	}
}

// create is coroutine.create. The coroutine shares the call's budget: with a
// context of its own it would be cut off when time is up, but each would cost
// one, and a goroutine to watch it.
func (s *state) create(l *lua.LState) int {
	f := l.CheckFunction(1)
	l.Push(s.threadMain)
	l.Push(f)
	l.Call(1, 1)
	l.Replace(1, l.Get(-1))
	l.RemoveContext()
	n := s.newThread(l)
	l.SetContext(s.b)
	l.CheckThread(l.GetTop()).SetContext(s.b)
	return n
}

// resume is coroutine.resume. What is neither new nor has yielded must not run:
// the interpreter would do so, and two that resume each other never end.
func (s *state) resume(l *lua.LState) int {
	th := l.CheckThread(1)
	switch {
	case th.Dead:
	case th == s.l || th == l || th.Parent != nil:
		return refuse(l, "cannot resume non-suspended coroutine")
	case s.nested == maxNested:
		return refuse(l, "C stack overflow")
	}
	protected := s.protected
	s.protected = 0
	s.nested++
	defer func() {
		s.nested--
		s.protected = protected
		l.G.CurrentThread = l // also when the coroutine's stack was left in disorder
	}()
	n := s.runThread(l)
	if s.over() {
		s.throw(l)
	}
	return n
}

func refuse(l *lua.LState, why string) int {
	l.Push(lua.LFalse)
	l.Push(lua.LString(why))
	return 2
}

// wrap is coroutine.wrap.
func (s *state) wrap(l *lua.LState) int {
	s.create(l)
	th := l.Get(-1)
	l.Push(l.NewFunction(func(l *lua.LState) int {
		l.Insert(th, 1)
		n := s.resume(l)
		if lua.LVIsFalse(l.Get(-n)) {
			l.Error(l.Get(-n+1), 0)
		}
		return n - 1
	}))
	return 1
}

// yield is coroutine.yield. The interpreter cannot leave a protected call in the
// middle: it would go on behind it as if it had returned.
func (s *state) yield(l *lua.LState) int {
	if l.Parent == nil {
		l.RaiseError("attempt to yield from outside a coroutine")
	}
	if s.protected > 0 {
		l.RaiseError("attempt to yield across pcall")
	}
	return -1
}
