package lua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// afterCtx is where the arguments begin that follow an optional ctx.
func afterCtx(l *lua.LState) int {
	if t := l.Get(1).Type(); t == lua.LTTable || t == lua.LTNil {
		return 2
	}
	return 1
}

func (s *state) coreRequest() *lua.LTable {
	t := s.table(map[string]lua.LGFunction{
		"headers":                     func(l *lua.LState) int { l.Push(s.headerTable(s.request(l))); return 1 },
		"header":                      s.coreHeader,
		"set_header":                  s.coreSetHeader,
		"add_header":                  s.coreAddHeader,
		"get_method":                  func(l *lua.LState) int { l.Push(str(s.request(l).Req.Method)); return 1 },
		"get_http_version":            func(l *lua.LState) int { l.Push(httpVersion(s.request(l))); return 1 },
		"get_uri_args":                s.coreArgs,
		"set_uri_args":                func(l *lua.LState) int { l.Remove(1); return s.setURIArgs(l) },
		"get_post_args":               s.corePostArgs,
		"get_body":                    s.coreBody,
		"get_json_request_body_table": s.jsonBody,
	})
	for name, variable := range map[string]string{"get_ip": "realip_remote_addr", "get_remote_client_ip": "remote_addr",
		"get_scheme": "scheme", "get_host": "host"} {
		t.RawSetString(name, s.l.NewFunction(func(l *lua.LState) int {
			l.Push(s.variable(s.request(l), variable))
			return 1
		}))
	}
	for name, variable := range map[string]string{"get_remote_client_port": "remote_port", "get_port": "server_port"} {
		t.RawSetString(name, s.l.NewFunction(func(l *lua.LState) int {
			l.Push(lua.LVAsNumber(lua.LString(s.request(l).Var(variable))))
			return 1
		}))
	}
	return t
}

// variable is a variable's value, or nil.
func (s *state) variable(c *plugins.Ctx, name string) lua.LValue {
	if v, ok := c.LookupVar(name); ok {
		return str(v)
	}
	return lua.LNil
}

func (s *state) coreHeader(l *lua.LState) int {
	v := s.requestHeader(s.request(l), l.CheckString(afterCtx(l)))
	if t, ok := v.(*lua.LTable); ok {
		v = t.RawGetInt(1)
	}
	l.Push(v)
	return 1
}

func (s *state) coreSetHeader(l *lua.LState) int {
	i := afterCtx(l)
	setRequestHeader(s.request(l), strings.Clone(l.CheckString(i)), l.Get(i+1))
	return 0
}

func (s *state) coreAddHeader(l *lua.LState) int {
	i := afterCtx(l)
	c, name := s.request(l), strings.Clone(l.CheckString(i))
	if !lib.HopByHop[strings.ToLower(lib.FieldName(name))] && !strings.EqualFold(name, "host") {
		addField(&c.Req.Header, name, l.Get(i+1))
	}
	return 0
}

func (s *state) coreArgs(l *lua.LState) int {
	t, _ := lib.DecodeArgs(l, s.request(l).Query, 0)
	l.Push(t)
	return 1
}

func (s *state) corePostArgs(l *lua.LState) int {
	b, err := s.body(l, 0)
	if err != nil {
		return lib.Fail(l, err.Error())
	}
	t, _ := lib.DecodeArgs(l, string(b), 0)
	l.Push(t)
	return 1
}

func (s *state) coreBody(l *lua.LState) int {
	b, err := s.body(l, int64(lua.LVAsNumber(l.Get(1))))
	if err != nil {
		return lib.Fail(l, err.Error())
	}
	if len(b) == 0 {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LString(b))
	return 1
}

func (s *state) jsonBody(l *lua.LState) int {
	message := func(text string) int {
		t := value.Table()
		t.RawSetString("message", lua.LString(text))
		l.Push(lua.LNil)
		l.Push(t)
		return 2
	}
	b, err := s.body(l, int64(lua.LVAsNumber(l.Get(1))))
	switch {
	case err != nil:
		return message("could not get body: " + err.Error())
	case len(b) == 0:
		return message("could not get body: request body is empty")
	}
	v, err := value.Decode(b)
	if err != nil {
		return message("could not get parse JSON request body: " + err.Error())
	}
	l.Push(v)
	return 1
}
