package lua

import (
	"encoding/json"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
	"sluice/gateway/wire"
	"sluice/plugins"
)

func raw(b []byte) json.RawMessage { return b }

// setField gives a field one value, several (a table), or none (nil).
func setField(h *wire.Header, name string, v lua.LValue) {
	name = lib.CleanName(name)
	switch v := v.(type) {
	case *lua.LNilType:
		h.Del(name)
	case *lua.LTable:
		h.Del(name)
		for i := 1; i <= v.Len(); i++ {
			h.Add(name, lib.Clean(value.Text(v.RawGetInt(i))))
		}
	default:
		h.Set(name, lib.Clean(value.Text(v)))
	}
}

// valueOf is what a header has under name: nil, a text, or a table of texts.
func valueOf(l *lua.LState, h *wire.Header, name string) lua.LValue {
	first := lua.LNil
	var all *lua.LTable
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, name) {
			continue
		}
		switch {
		case first == lua.LNil:
			first = str(f.Value)
		case all == nil:
			all = value.Table()
			all.Append(first)
			fallthrough
		default:
			all.Append(str(f.Value))
		}
	}
	if all != nil {
		return all
	}
	return first
}

// headersOf makes a table of a header, names in lower case; looking a name up
// does not mind case, nor underscores.
func (s *state) headersOf(h *wire.Header, max int) *lua.LTable {
	t := value.Table()
	for i := range h.Len() {
		if max > 0 && i >= max {
			break
		}
		f := h.At(i)
		lib.AddPair(s.l, t, strings.ToLower(f.Name), str(f.Value))
	}
	t.Metatable = s.caseless()
	return t
}

func (s *state) caseless() *lua.LTable {
	if t := s.libs["caseless"]; t != nil {
		return t
	}
	t := s.hookMeta(func(l *lua.LState) int {
		name := strings.ToLower(lib.FieldName(lua.LVAsString(l.Get(2))))
		l.Push(l.CheckTable(1).RawGetString(name))
		return 1
	}, nil)
	s.libs["caseless"] = t
	return t
}

// headerTable is the request's header, with what the engine took out of it.
func (s *state) headerTable(c *plugins.Ctx) *lua.LTable {
	t := s.headersOf(&c.Req.Header, 0)
	if c.Req.Host != "" {
		t.RawSetString("host", str(c.Req.Host))
	}
	if c.Req.Upgrade != "" {
		t.RawSetString("upgrade", str(c.Req.Upgrade))
		t.RawSetString("connection", lua.LString("upgrade"))
	}
	return t
}

// requestHeader reads one field of the request.
func (s *state) requestHeader(c *plugins.Ctx, name string) lua.LValue {
	if wire.EqualFold(name, "Host") {
		if c.Req.Host == "" {
			return lua.LNil
		}
		return str(c.Req.Host)
	}
	if wire.EqualFold(name, "Upgrade") && c.Req.Upgrade != "" {
		return str(c.Req.Upgrade)
	}
	if c.Req.Header.Has(name) { // "_" stands for "-" only where there is no such field
		return valueOf(s.l, &c.Req.Header, name)
	}
	return valueOf(s.l, &c.Req.Header, lib.FieldName(name))
}

func setRequestHeader(c *plugins.Ctx, name string, v lua.LValue) {
	name = lib.FieldName(name)
	switch lower := strings.ToLower(name); {
	case lower == "host":
		if v != lua.LNil {
			c.Req.Host = lib.Clean(value.Text(v))
		}
	case lib.HopByHop[lower]:
	default:
		setField(&c.Req.Header, name, v)
	}
}

// respHeader is where response fields are written now: on the response when
// there is one, else on what will be put on it.
func (s *state) respHeader(c *plugins.Ctx) *wire.Header {
	if c.Resp != nil {
		return &c.Resp.Header
	}
	return &c.RespHeader
}

func (s *state) respHeaderIndex(l *lua.LState) int {
	c := s.request(l)
	name := lib.FieldName(lua.LVAsString(l.Get(2)))
	v := valueOf(l, s.respHeader(c), name)
	if v == lua.LNil && c.Resp != nil && wire.EqualFold(name, "Content-Length") && c.Resp.ContentLength >= 0 {
		v = lua.LString(value.FormatNumber(float64(c.Resp.ContentLength)))
	}
	l.Push(v)
	return 1
}

func (s *state) respHeaderSet(l *lua.LState) int {
	c := s.request(l)
	s.setRespHeader(l, c, l.CheckString(2), l.Get(3))
	return 0
}

func (s *state) setRespHeader(l *lua.LState, c *plugins.Ctx, name string, v lua.LValue) {
	if s.phase == "body_filter" || s.phase == "log" {
		l.RaiseError("attempt to set ngx.header.%s after sending out response headers", name)
	}
	name = lib.FieldName(name)
	if wire.EqualFold(name, "Content-Length") {
		if c.Resp != nil && v == lua.LNil {
			c.Resp.ContentLength = -1
			c.Resp.Header.Del("Content-Length")
		}
		return
	}
	if wire.EqualFold(name, "Connection") || wire.EqualFold(name, "Transfer-Encoding") {
		return
	}
	setField(s.respHeader(c), name, v)
}

func (s *state) respHeaderAdd(l *lua.LState) int {
	c := s.request(l)
	addField(s.respHeader(c), l.CheckString(1), l.Get(2))
	return 0
}

func addField(h *wire.Header, name string, v lua.LValue) {
	name = lib.CleanName(lib.FieldName(name))
	if t, ok := v.(*lua.LTable); ok {
		for i := 1; i <= t.Len(); i++ {
			h.Add(name, lib.Clean(value.Text(t.RawGetInt(i))))
		}
		return
	}
	h.Add(name, lib.Clean(value.Text(v)))
}

func (s *state) respHeaders(l *lua.LState) int {
	c := s.request(l)
	l.Push(s.headersOf(s.respHeader(c), 0))
	return 1
}
