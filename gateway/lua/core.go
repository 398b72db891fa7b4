package lua

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/configcenter/schema"
	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
)

// core is apisix.core: its parts are modules of their own.
func (s *state) core() lua.LValue {
	t := value.Table()
	for _, part := range [...]string{"json", "log", "request", "response", "ctx", "schema", "id", "ip", "table", "string",
		"lrucache", "utils"} {
		t.RawSetString(part, s.module(s.l, "apisix.core."+part))
	}
	t.RawSetString("version", s.table(nil))
	t.RawSetString("empty_tab", value.Table())
	t.RawSetString("sleep", s.libs["ngx"].RawGetString("sleep"))
	return t
}

func (s *state) coreLog() *lua.LTable {
	level := func(v slog.Level) lua.LGFunction {
		return func(l *lua.LState) int { s.writeLog(l, v, 1); return 0 }
	}
	t := s.table(map[string]lua.LGFunction{
		"emerg": level(slog.LevelError), "alert": level(slog.LevelError), "crit": level(slog.LevelError),
		"error": level(slog.LevelError), "warn": level(slog.LevelWarn), "notice": level(slog.LevelInfo),
		"info": level(slog.LevelInfo), "debug": level(slog.LevelDebug),
		"delay_exec": func(l *lua.LState) int {
			f := l.CheckFunction(1)
			mt := value.Table()
			mt.RawSetString("__tostring", l.NewFunction(func(l *lua.LState) int {
				l.Push(f)
				l.Call(0, 1)
				l.Push(text(l.Get(-1)))
				return 1
			}))
			l.Push(value.Table())
			l.Get(-1).(*lua.LTable).Metatable = mt
			return 1
		},
	})
	return t
}

func (s *state) coreJSON() *lua.LTable {
	safe := s.cjson(true)
	encode := func(l *lua.LState, v lua.LValue, force, sorted bool) (lua.LValue, error) {
		e := value.Encoder{Limit: s.h.o.Output, Array: s.arrayMT, Force: force, Sorted: sorted}
		b, err := e.Encode(v)
		return lua.LString(b), err
	}
	push := func(force, sorted bool) lua.LGFunction {
		return func(l *lua.LState) int {
			v, err := encode(l, l.Get(1), force || l.ToBool(2), sorted)
			if err != nil {
				return lib.Fail(l, err.Error())
			}
			l.Push(v)
			return 1
		}
	}
	t := s.table(map[string]lua.LGFunction{
		"encode": push(false, false), "stably_encode": push(false, true), "canonical_encode": push(false, true),
		"decode": s.coreDecode,
		"delay_encode": func(l *lua.LState) int {
			data, force := l.Get(1), l.ToBool(2)
			mt := value.Table()
			mt.RawSetString("__tostring", l.NewFunction(func(l *lua.LState) int {
				v, err := encode(l, data, force, false)
				if err != nil {
					v = lua.LString(err.Error())
				}
				l.Push(v)
				return 1
			}))
			t := value.Table()
			t.Metatable = mt
			l.Push(t)
			return 1
		},
	})
	for _, name := range [...]string{"null", "array_mt"} {
		t.RawSetString(name, safe.RawGetString(name))
	}
	return t
}

// coreDecode is json.decode(text, {null_as_nil = …}).
func (s *state) coreDecode(l *lua.LState) int {
	text, ok := l.Get(1).(lua.LString)
	if !ok {
		return lib.Fail(l, "bad argument #1 to 'decode' (string expected, got "+l.Get(1).Type().String()+")")
	}
	v, err := value.Decode([]byte(text))
	if err != nil {
		return lib.Fail(l, err.Error())
	}
	if opts, ok := l.Get(2).(*lua.LTable); ok && lua.LVAsBool(opts.RawGetString("null_as_nil")) {
		v = value.WithoutNull(v)
	}
	l.Push(v)
	return 1
}

func (s *state) coreResponse() *lua.LTable {
	header := func(appending bool) lua.LGFunction {
		return func(l *lua.LState) int { s.setHeaders(l, appending); return 0 }
	}
	return s.table(map[string]lua.LGFunction{
		"exit": func(l *lua.LState) int {
			s.request(l)
			rest := make([]lua.LValue, 0, 1)
			for i := 2; i <= l.GetTop(); i++ {
				rest = append(rest, l.Get(i))
			}
			if err := s.finish(l.Get(1), rest...); err != nil {
				l.RaiseError("failed to encode data: %s", err.Error())
			}
			if s.exit.asked {
				s.leaveWith(l, s.exit)
			}
			return 0
		},
		"say": func(l *lua.LState) int {
			s.request(l)
			for i := 1; i <= l.GetTop(); i++ {
				if err := s.finish(lua.LNil, l.Get(i)); err != nil {
					l.RaiseError("failed to encode data: %s", err.Error())
				}
			}
			return 0
		},
		"set_header": header(false), "add_header": header(true),
		"get_upstream_status":           s.upstreamStatus,
		"get_response_source":           func(l *lua.LState) int { l.Push(str(s.request(l).ReplySource)); return 1 },
		"set_response_source":           s.setSource,
		"clear_header_as_body_modified": s.bodyModified,
		"hold_body_chunk":               s.holdBody,
		"get_last_upstream_token":       lib.LastToken,
		"exit_insert_callback":          func(l *lua.LState) int { l.RaiseError("use the plugin exit-transformer"); return 0 },
	})
}

// setHeaders is set_header and add_header: (name, value, …) or (table).
func (s *state) setHeaders(l *lua.LState, appending bool) {
	c := s.request(l)
	set := func(name string, v lua.LValue) {
		if appending && v != lua.LNil {
			addField(s.respHeader(c), strings.Clone(name), v)
		} else {
			s.setRespHeader(l, c, strings.Clone(name), v)
		}
	}
	if l.GetTop() == 1 {
		t, ok := l.Get(1).(*lua.LTable)
		if !ok {
			set(l.CheckString(1), lua.LNil)
			return
		}
		for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
			set(k.String(), v)
		}
		return
	}
	for i := 1; i <= l.GetTop(); i += 2 {
		set(l.CheckString(i), l.Get(i+1))
	}
}

func (s *state) upstreamStatus(l *lua.LState) int {
	c := s.request(l)
	if n := len(c.Tries); n > 0 && c.Tries[n-1].Status != 0 {
		l.Push(lua.LNumber(c.Tries[n-1].Status))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

func (s *state) setSource(l *lua.LState) int {
	c := s.request(l)
	if v := l.OptString(2, ""); slices.Contains([]string{"apisix", "nginx", "upstream"}, v) {
		c.ReplySource = strings.Clone(v)
	}
	return 0
}

func (s *state) bodyModified(l *lua.LState) int {
	if c := s.request(l); c.Resp != nil {
		c.Resp.ContentLength = -1
		for _, name := range [...]string{"Content-Length", "Content-Encoding", "Last-Modified", "ETag"} {
			c.Resp.Header.Del(name)
		}
	}
	return 0
}

// held is the body that hold_body_chunk has gathered on a request.
type held struct{ b []byte }

type heldKey struct{ name string }

// holdBody is hold_body_chunk(ctx, keep, max, key): nil until the last piece,
// then the whole body.
func (s *state) holdBody(l *lua.LState) int {
	c := s.request(l)
	limit := l.OptInt(3, s.h.o.Output)
	key := heldKey{l.OptString(4, "")}
	h, _ := c.Value(key).(*held)
	if h == nil {
		h = &held{}
		c.SetValue(key, h)
	}
	if room := limit - len(h.b); room > 0 {
		p := value.AppendPrinted(nil, pieceOf(s.piece))
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	if !l.ToBool(2) && !s.last {
		s.piece, s.touched = lua.LNil, true
	}
	if !s.last {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LString(h.b))
	h.b = nil
	return 1
}

func pieceOf(v lua.LValue) lua.LValue {
	if v == lua.LNil {
		return lua.LString("")
	}
	return v
}

// maxGetters bounds the variables that Lua registers in one state.
const maxGetters = 256

func (s *state) coreCtx() *lua.LTable {
	return s.table(map[string]lua.LGFunction{
		"register_var": func(l *lua.LState) int {
			name, f := strings.Clone(l.CheckString(1)), l.CheckFunction(2)
			if s.getters == nil {
				s.getters = map[string]*lua.LFunction{}
			}
			if s.getters[name] == nil && len(s.getters) >= maxGetters {
				l.RaiseError("too many variables are registered")
			}
			s.getters[name] = f
			return 0
		},
		"set_vars_meta": nothing, "release_vars": nothing,
	})
}

func (s *state) coreSchema() *lua.LTable {
	t := s.table(map[string]lua.LGFunction{"check": func(l *lua.LState) int {
		conf := l.CheckTable(2)
		if err := s.checkSchema(l.CheckTable(1), conf); err != nil {
			l.Push(lua.LFalse)
			l.Push(lua.LString(err.Error()))
			return 2
		}
		l.Push(lua.LTrue)
		return 1
	}})
	t.RawSetString("TYPE_CONSUMER", lua.LNumber(1))
	t.RawSetString("TYPE_METADATA", lua.LNumber(2))
	return t
}

// checkSchema holds conf against a JSON Schema and fills its defaults in.
func (s *state) checkSchema(rules, conf *lua.LTable) error {
	text, err := s.encode(rules)
	if err != nil {
		return err
	}
	compiled, err := schema.Compile("lua", string(text))
	if err != nil {
		return err
	}
	data, err := s.encode(conf)
	if err != nil {
		return err
	}
	filled, err := compiled.Check(data)
	if err != nil {
		return err
	}
	v, err := value.Decode(filled)
	if err != nil {
		return err
	}
	t, ok := v.(*lua.LTable)
	if !ok {
		return errors.New("object expected")
	}
	value.Fill(conf, t)
	return nil
}

func (s *state) coreID() *lua.LTable {
	return s.table(map[string]lua.LGFunction{
		"get":         func(l *lua.LState) int { l.Push(lua.LString(s.h.id)); return 1 },
		"gen_uuid_v4": func(l *lua.LState) int { l.Push(lua.LString(uuid())); return 1 },
	})
}

func (s *state) coreIP() *lua.LTable {
	return s.table(map[string]lua.LGFunction{
		"validate_cidr_or_ip": func(l *lua.LState) int {
			_, err := prefix(l.CheckString(1))
			l.Push(lua.LBool(err == nil))
			return 1
		},
		"create_ip_matcher": s.ipMatcher,
	})
}

func prefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ipMatcher returns an object with match(ip).
func (s *state) ipMatcher(l *lua.LState) int {
	list := l.CheckTable(1)
	nets := make([]netip.Prefix, 0, list.Len())
	for i := 1; i <= list.Len(); i++ {
		text := list.RawGetInt(i).String()
		p, err := prefix(text)
		if err != nil {
			return lib.Fail(l, "failed to create ip matcher: invalid ip address: "+text)
		}
		nets = append(nets, p)
	}
	l.Push(s.table(map[string]lua.LGFunction{"match": func(l *lua.LState) int {
		a, err := netip.ParseAddr(l.CheckString(2))
		if err != nil {
			return lib.Fail(l, err.Error())
		}
		l.Push(lua.LBool(slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })))
		return 1
	}}))
	return 1
}
