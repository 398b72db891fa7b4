package lua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/strlib"
	"sluice/gateway/lua/syntax"
	"sluice/gateway/lua/value"
)

// standard opens those parts of Lua's own library that are safe to share a
// process with.
func (s *state) standard() {
	l := s.l
	for _, open := range [...]lua.LGFunction{lua.OpenBase, lua.OpenString, lua.OpenTable, lua.OpenMath, lua.OpenOs, lua.OpenCoroutine} {
		l.Push(l.NewFunction(open))
		l.Call(0, 0)
	}
	all := l.Get(lua.GlobalsIndex).(*lua.LTable)
	base := value.Table()
	for _, name := range [...]string{"assert", "error", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget",
		"rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "_VERSION"} {
		base.RawSetString(name, all.RawGetString(name))
	}
	for name, f := range map[string]lua.LGFunction{"pcall": s.pcall, "xpcall": s.xpcall, "require": s.require,
		"print": s.print, "load": s.load, "loadstring": s.load, "collectgarbage": collectgarbage} {
		base.RawSetString(name, l.NewFunction(f))
	}
	s.libs["_G"] = base
	base.RawSetString(strlib.Concat, l.NewFunction(s.bounds().Concat))
	for _, name := range [...]string{"string", "table", "math", "coroutine"} {
		s.libs[name] = all.RawGetString(name).(*lua.LTable)
	}
	texts := s.libs["string"]
	s.bounds().Install(l, texts, s.libs["table"])
	texts.RawSetString("dump", lua.LNil)
	texts.RawSetString("__index", lua.LNil) // itself: the metatable of strings
	s.strMT = value.Table()
	s.strMT.RawSetString("__index", texts)
	s.strMT.RawSetString("__metatable", lua.LFalse)
	l.SetMetatable(lua.LString(""), s.strMT)
	s.coroutines()
	s.libs["table"].RawSetString("new", l.NewFunction(newTable))
	sys := all.RawGetString("os").(*lua.LTable)
	s.libs["os"] = value.Table()
	for _, name := range [...]string{"clock", "date", "difftime", "time"} {
		s.libs["os"].RawSetString(name, sys.RawGetString(name))
	}
	s.libs["os"].RawSetString("getenv", l.NewFunction(s.getenv))
	s.libs["bit"] = s.table(lib.Bits)
	s.libs["debug"] = s.table(map[string]lua.LGFunction{"traceback": traceback})
	s.libs["jit"] = value.Table()
	s.arrayMT = value.Table()
	s.arrayMT.Metatable = value.ArrayMark // programs need the very table, not a shade
}

// throw ends the call, or goes on doing so.
func (s *state) throw(l *lua.LState) {
	if err := s.b.Err(); err != nil && !s.exit.asked {
		l.RaiseError("%s", err.Error())
	}
	l.Error(s.stop, 0)
}

func (s *state) pcall(l *lua.LState) int {
	l.CheckAny(1)
	if err := s.protect(l, l.GetTop()-1); err != nil {
		return s.caught(l, err)
	}
	l.Insert(lua.LTrue, 1)
	return l.GetTop()
}

// protect calls what lies on the stack below its arguments, and returns what it raises.
func (s *state) protect(l *lua.LState, args int) error {
	s.protected++
	err := l.PCall(args, lua.MultRet, nil)
	s.protected--
	return err
}

func (s *state) xpcall(l *lua.LState) int {
	f, handler := l.CheckAny(1), l.CheckFunction(2)
	args := l.GetTop() - 2
	l.Insert(f, 3)
	if err := s.protect(l, args); err != nil {
		if s.over() {
			s.throw(l)
		}
		l.SetTop(0)
		l.Push(handler)
		l.Push(thrown(err))
		l.Call(1, lua.MultRet)
		l.Insert(lua.LFalse, 1)
		return l.GetTop()
	}
	l.Replace(1, lua.LTrue)
	l.Remove(2)
	return l.GetTop()
}

func (s *state) caught(l *lua.LState, err error) int {
	if s.over() {
		s.throw(l)
	}
	l.SetTop(0)
	l.Push(lua.LFalse)
	l.Push(thrown(err))
	return 2
}

// thrown is the value that error() was given.
func thrown(err error) lua.LValue {
	if api, ok := err.(*lua.ApiError); ok && api.Object != nil && api.Type != lua.ApiErrorPanic {
		return api.Object
	}
	return lua.LString(err.Error())
}

func (s *state) print(l *lua.LState) int {
	s.logger().Info(message(l, 1, "\t"))
	return 0
}

// maxSource bounds what a program may compile: the compiler recurses.
const maxSource = 1 << 20

// load is load and loadstring: the chunk gets the program's globals.
func (s *state) load(l *lua.LState) int {
	src := s.chunkText(l)
	if len(src) > maxSource {
		return lib.Fail(l, "chunk is too long")
	}
	name := l.OptString(2, src)
	p, err := syntax.Compile(src, strings.TrimPrefix(name, "="))
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	env := s.libs["_G"]
	if s.cur != nil {
		env = s.cur.env
	}
	l.Push(s.function(p, env))
	return 1
}

func (s *state) chunkText(l *lua.LState) string {
	f, ok := l.Get(1).(*lua.LFunction)
	if !ok {
		return l.CheckString(1)
	}
	var b strings.Builder
	for b.Len() <= maxSource {
		l.Push(f)
		l.Call(0, 1)
		part := lua.LVAsString(l.Get(-1))
		l.Pop(1)
		if part == "" {
			break
		}
		b.WriteString(part)
	}
	return b.String()
}

// collectgarbage does nothing: memory is the process's.
func collectgarbage(l *lua.LState) int {
	l.Push(lua.LNumber(0))
	return 1
}

// bounds are what a call may do with texts.
func (s *state) bounds() *strlib.Bounds {
	return &strlib.Bounds{Over: s.b.Err, Largest: s.h.o.Output, Build: s.build}
}

// build counts n bytes of texts that the call has built.
func (s *state) build(n int) bool {
	s.built += n
	return s.built <= s.h.o.Memory
}

func (s *state) getenv(l *lua.LState) int {
	if v := s.h.o.Getenv(l.CheckString(1)); v != "" {
		l.Push(lua.LString(v))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

func traceback(l *lua.LState) int {
	l.Push(lua.LString(l.OptString(1, "") + "\nstack traceback:" + l.Where(1)))
	return 1
}

// newTable is table.new: sizes are hints, and bounded.
func newTable(l *lua.LState) int {
	l.Push(l.CreateTable(min(max(l.OptInt(1, 0), 0), 1<<12), min(max(l.OptInt(2, 0), 0), 1<<12)))
	return 1
}
