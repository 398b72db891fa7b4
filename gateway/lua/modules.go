package lua

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"embed"
	"errors"
	"hash"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/syntax"
	"sluice/gateway/lua/value"
)

//go:embed modules/*.lua
var embedded embed.FS

// written are the modules that are Lua themselves, by their file.
var written = map[string]string{
	"apisix.core.table": "core_table", "apisix.core.string": "core_string",
	"apisix.core.lrucache": "core_lrucache", "apisix.core.utils": "core_utils", "ngx.re": "ngx_re",
}

// builders make modules in Go, on the first require of a state.
func builders() map[string]func(*state) lua.LValue {
	return map[string]func(*state) lua.LValue{
		"cjson":                func(s *state) lua.LValue { return s.cjson(false) },
		"cjson.safe":           func(s *state) lua.LValue { return s.cjson(true) },
		"apisix.core":          (*state).core,
		"apisix.core.json":     func(s *state) lua.LValue { return s.coreJSON() },
		"apisix.core.log":      func(s *state) lua.LValue { return s.coreLog() },
		"apisix.core.request":  func(s *state) lua.LValue { return s.coreRequest() },
		"apisix.core.response": func(s *state) lua.LValue { return s.coreResponse() },
		"apisix.core.ctx":      func(s *state) lua.LValue { return s.coreCtx() },
		"apisix.core.schema":   func(s *state) lua.LValue { return s.coreSchema() },
		"apisix.core.id":       func(s *state) lua.LValue { return s.coreID() },
		"apisix.core.ip":       func(s *state) lua.LValue { return s.coreIP() },
		"resty.http":           func(s *state) lua.LValue { return s.http().Module(s.l) },
		"resty.string":         func(s *state) lua.LValue { return s.table(lib.RestyString) },
		"resty.md5":            digest(md5.New),
		"resty.sha1":           digest(sha1.New),
		"resty.sha224":         digest(sha256.New224),
		"resty.sha256":         digest(sha256.New),
		"resty.sha384":         digest(sha512.New384),
		"resty.sha512":         digest(sha512.New),
		"lyaml":                func(s *state) lua.LValue { return s.table(lib.YAML) },
		"net.url":              func(s *state) lua.LValue { return s.table(map[string]lua.LGFunction{"parse": lib.ParseURL}) },
		"table.new":            func(s *state) lua.LValue { return s.l.NewFunction(newTable) },
		"table.clear":          func(s *state) lua.LValue { return s.fromCore("clear") },
		"table.nkeys":          func(s *state) lua.LValue { return s.fromCore("nkeys") },
		"table.clone":          func(s *state) lua.LValue { return s.fromCore("clone") },
		"table.isempty":        func(s *state) lua.LValue { return s.fromCore("isempty") },
		"table.isarray":        func(s *state) lua.LValue { return s.fromCore("isarray") },
		"ngx":                  func(s *state) lua.LValue { return s.libs["ngx"] },
		"jit":                  func(s *state) lua.LValue { return s.libs["jit"] },
		"bit":                  func(s *state) lua.LValue { return s.libs["bit"] },
	}
}

func (s *state) require(l *lua.LState) int {
	name := l.CheckString(1)
	if s.cur == nil {
		l.Push(s.module(l, name))
		return 1
	}
	v := s.cur.modules[name]
	if v == nil {
		v = s.module(l, name)
		if t, ok := v.(*lua.LTable); ok {
			v = s.shade(t)
		}
		s.cur.modules[strings.Clone(name)] = v
	}
	l.Push(v)
	return 1
}

// module is a module as the state has it, which no program gets to see itself.
func (s *state) module(l *lua.LState, name string) lua.LValue {
	if t := s.libs["module "+name]; t != nil {
		return t
	}
	var v lua.LValue
	if file := written[name]; file != "" {
		v = s.run(l, file)
	} else if build := builders()[name]; build != nil {
		v = build(s)
	} else {
		l.RaiseError("module '%s' not found", name)
	}
	if t, ok := v.(*lua.LTable); ok {
		s.libs["module "+name] = t
	}
	return v
}

// run runs an embedded file, once for each state.
func (s *state) run(l *lua.LState, file string) lua.LValue {
	proto := s.embedded(l, file)
	env := value.Table()
	base := s.libs["_G"]
	for k, v := base.Next(lua.LNil); k != lua.LNil; k, v = base.Next(k) {
		env.RawSet(k, v)
	}
	for _, name := range [...]string{"string", "table", "math", "ngx"} {
		env.RawSetString(name, s.libs[name])
	}
	env.RawSetString("marked", l.NewFunction(marked))
	l.Push(s.function(proto, env))
	l.Call(0, 1)
	v := l.Get(-1)
	l.Pop(1)
	return v
}

// marked returns its first argument, marked as an array if the second one is: the
// mark is out of reach for getmetatable.
func marked(l *lua.LState) int {
	if c := l.CheckTable(1); l.CheckTable(2).Metatable == lua.LValue(value.ArrayMark) {
		c.Metatable = value.ArrayMark
	}
	l.SetTop(1)
	return 1
}

// embedded is an embedded file, compiled once for all states.
func (s *state) embedded(l *lua.LState, file string) *lua.FunctionProto {
	if p, ok := s.h.modules.Load(file); ok {
		return p.(*lua.FunctionProto)
	}
	src, err := embedded.ReadFile("modules/" + file + ".lua")
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	p, err := syntax.Compile(string(src), file)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	s.h.modules.Store(file, p)
	return p
}

func (s *state) fromCore(name string) lua.LValue {
	t, ok := s.module(s.l, "apisix.core.table").(*lua.LTable)
	if !ok {
		return lua.LNil
	}
	return t.RawGetString(name)
}

// cjson is the module cjson; the safe one returns nil and a message instead of
// raising an error.
func (s *state) cjson(safe bool) *lua.LTable {
	bad := func(l *lua.LState, err error) int {
		if !safe {
			l.RaiseError("%s", err.Error())
		}
		return lib.Fail(l, err.Error())
	}
	t := s.table(map[string]lua.LGFunction{
		"encode": func(l *lua.LState) int {
			b, err := s.encode(l.Get(1))
			if err != nil {
				return bad(l, err)
			}
			l.Push(lua.LString(b))
			return 1
		},
		"decode": func(l *lua.LState) int {
			text, ok := l.Get(1).(lua.LString)
			if !ok {
				return bad(l, errors.New("bad argument #1 to 'decode' (string expected, got "+l.Get(1).Type().String()+")"))
			}
			v, err := value.Decode([]byte(text))
			if err != nil {
				return bad(l, err)
			}
			l.Push(v)
			return 1
		},
		"new":                                 func(l *lua.LState) int { l.Push(s.cjson(safe)); return 1 },
		"encode_empty_table_as_object":        nothing,
		"decode_array_with_array_mt":          nothing,
		"encode_escape_forward_slash":         nothing,
		"encode_number_precision":             nothing,
		"encode_sparse_array":                 nothing,
		"encode_max_depth":                    nothing,
		"decode_max_depth":                    nothing,
		"encode_keep_buffer":                  nothing,
		"encode_invalid_numbers":              nothing,
		"decode_invalid_numbers":              nothing,
		"encode_skip_unsupported_value_types": nothing,
	})
	t.RawSetString("null", value.Null)
	t.RawSetString("array_mt", s.arrayMT)
	t.RawSetString("empty_array_mt", s.arrayMT)
	empty := value.Table()
	empty.Metatable = value.ArrayMark
	t.RawSetString("empty_array", empty)
	return t
}

func digest(mk func() hash.Hash) func(*state) lua.LValue {
	return func(s *state) lua.LValue { return lib.Digest(s.l, mk) }
}

func (s *state) http() *lib.HTTP {
	return &lib.HTTP{Transport: s.h.transport(), Limit: s.h.o.Output, Timeout: s.h.o.Blocking, Block: s.block}
}
