package lua

import (
	"encoding/json"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// views are the tables that show the request. They belong to the state, and
// programs may keep them: what is written to them moves with the request.
type views struct {
	ctx, ngxCtx *lua.LTable // ngxCtx may be a table of the program
	ownNgxCtx   *lua.LTable
	ngxMeta     *lua.LTable
	vars        *lua.LTable   // ctx.var
	hooked      []*lua.LTable // that have nothing of their own
	getters     map[string]*lua.LFunction
}

func (s *state) makeViews() {
	s.ngxMeta = s.hookMeta(s.ngxCtxIndex, nil)
	s.ctx, s.ownNgxCtx = s.l.CreateTable(0, 4), s.l.CreateTable(0, 4)
	s.ctx.Metatable, s.ownNgxCtx.Metatable = s.hookMeta(s.ctxIndex, nil), s.ngxMeta
	s.ngxCtx = s.ownNgxCtx
	s.vars = s.hooks(s.varIndex, s.varSet)
}

// clearViews takes off what the call wrote, also past the metatables.
func (s *state) clearViews() {
	s.empty(s.ctx)
	s.empty(s.ownNgxCtx)
	s.ngxCtx = s.ownNgxCtx
	for _, t := range s.hooked {
		s.empty(t)
	}
}

// kept is what programs wrote on a request, between calls: plain data that no
// state refers to.
type kept struct {
	ctx, ngx *lua.LTable
	vars     map[string]lua.LValue // those that are no strings
}

type keptKey struct{}

// Field is what a program wrote to ctx.<name> on this request, as JSON; nil when
// there is nothing. Plugins whose users set such fields read them with it.
func Field(c *plugins.Ctx, name string) json.RawMessage {
	k, _ := c.Value(keptKey{}).(*kept)
	if k == nil || k.ctx == nil {
		return nil
	}
	v := k.ctx.RawGetString(name)
	if v == lua.LNil {
		return nil
	}
	b, err := (&value.Encoder{Limit: maxField}).Encode(v)
	if err != nil {
		c.Log().Error("field of ctx cannot be read", "name", name, "err", err)
		return nil
	}
	return b
}

// maxField is the longest text that Field returns, in bytes.
const maxField = 1 << 20

func (s *state) restore() {
	if s.c == nil {
		return
	}
	k, _ := s.c.Value(keptKey{}).(*kept)
	if k == nil {
		return
	}
	for _, p := range [...]struct{ from, to *lua.LTable }{{k.ctx, s.ctx}, {k.ngx, s.ngxCtx}} {
		if p.from == nil {
			continue
		}
		for key, v := p.from.Next(lua.LNil); key != lua.LNil; key, v = p.from.Next(key) {
			p.to.RawSet(key, v)
		}
	}
	s.pairs = k.vars
}

// keep lets the request have what was written to the views. It is copied: the
// program may have kept the tables, and another state will serve the request's
// next phase.
func (s *state) keep() {
	defer s.clearViews()
	ctx, ngx := nonEmpty(s.ctx), nonEmpty(s.ngxCtx)
	if s.c != nil && (ctx || ngx || s.pairs != nil) {
		seen := value.Copies{L: s.l, Array: s.arrayMT}
		k := &kept{}
		if ctx {
			k.ctx = seen.Table(s.ctx)
		}
		if ngx {
			k.ngx = seen.Table(s.ngxCtx)
		}
		if s.pairs != nil {
			k.vars = make(map[string]lua.LValue, len(s.pairs))
			for name, v := range s.pairs {
				k.vars[name] = seen.Value(v)
			}
		}
		s.c.SetValue(keptKey{}, k)
	}
}

// empty takes all items out of a table, and forgets their names: those of items
// that are merely set to nil stay in it.
func (s *state) empty(t *lua.LTable) {
	if nonEmpty(t) {
		mt := t.Metatable
		*t = *s.l.CreateTable(0, 4)
		t.Metatable = mt
	}
}

func nonEmpty(t *lua.LTable) bool {
	k, _ := t.Next(lua.LNil)
	return k != lua.LNil
}

// request is the Ctx of the call; outside of a request the program is told.
func (s *state) request(l *lua.LState) *plugins.Ctx {
	if s.c == nil {
		l.RaiseError("no request found")
	}
	return s.c
}

// str is a text of the request as Lua may keep it: a copy, for the request's
// memory is used again.
func str(v string) lua.LString { return lua.LString(strings.Clone(v)) }

func (s *state) varIndex(l *lua.LState) int {
	c := s.request(l)
	name := lua.LVAsString(l.Get(2))
	if s.pairs != nil {
		if v, ok := s.pairs[name]; ok {
			l.Push(v)
			return 1
		}
	}
	if v, ok := c.LookupVar(name); ok {
		l.Push(str(v))
		return 1
	}
	if f := s.getters[name]; f != nil {
		l.Push(f)
		l.Push(s.ctx)
		l.Call(1, 1)
		return 1
	}
	l.Push(lua.LNil)
	return 1
}

func (s *state) varSet(l *lua.LState) int {
	c := s.request(l)
	name := strings.Clone(l.CheckString(2))
	v := l.Get(3)
	delete(s.pairs, name)
	switch v := v.(type) {
	case lua.LString:
		setVar(c, name, string(v))
	case lua.LNumber:
		setVar(c, name, v.String())
		s.setPair(name, v)
	case *lua.LNilType:
		setVar(c, name, "")
		s.setPair(name, v)
	default:
		s.setPair(name, v)
	}
	return 0
}

func (s *state) setPair(name string, v lua.LValue) {
	if s.pairs == nil {
		s.pairs = map[string]lua.LValue{}
	}
	s.pairs[name] = v
}

// setVar writes a variable: some are members of Ctx.
func setVar(c *plugins.Ctx, name, v string) {
	switch name {
	case "upstream_uri":
		c.UpstreamURI = v
	case "upstream_host":
		c.UpstreamHost = v
	case "upstream_scheme":
		c.UpstreamScheme = v
	case "args":
		c.Query = v
	case "apisix_request_id":
		c.RequestID = v
	default:
		c.SetVar(name, v)
	}
}

func (s *state) ngxCtxIndex(l *lua.LState) int {
	if s.c != nil && l.Get(2) == lua.LString("api_ctx") {
		l.Push(s.ctx)
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

// ctxIndex answers for the fields of ctx that the gateway knows.
func (s *state) ctxIndex(l *lua.LState) int {
	c := s.request(l)
	name, ok := l.Get(2).(lua.LString)
	if !ok {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(s.ctxField(c, string(name)))
	return 1
}

func (s *state) ctxField(c *plugins.Ctx, name string) lua.LValue {
	switch name {
	case "var":
		return s.vars
	case "curr_req_matched":
		return s.matched(c)
	case "matched_route":
		if c.Route != nil {
			return s.stored("/apisix/routes/"+string(c.Route.ID), c.Route)
		}
	case "matched_service":
		if c.Service != nil {
			return s.stored("/apisix/services/"+string(c.Service.ID), c.Service)
		}
	case "matched_upstream", "upstream_conf":
		if u := c.Upstream(); u != nil {
			return s.tableOf(u.Def())
		}
	case "consumer":
		return s.consumer(c)
	case "headers":
		return s.headerTable(c)
	case "req_post_args":
		return s.postArgs(c)
	case "consumer_name", "consumer_group_id", "route_id", "route_name", "service_id", "service_name",
		"balancer_ip", "balancer_port":
		if v, ok := c.LookupVar(name); ok && v != "" {
			return str(v)
		}
	case "conf_type":
		return lua.LString(confType(c))
	case "conf_id":
		if c.Route != nil {
			return str(string(c.Route.ID))
		}
	default:
		if v := c.Value(plugins.Field(name)); v != nil {
			return s.tableOf(v)
		}
	}
	return lua.LNil
}

// postArgs are the fields of a form, once its body was read.
func (s *state) postArgs(c *plugins.Ctx) lua.LValue {
	b, ok := c.BufferedBody()
	if !ok || !strings.HasPrefix(c.Req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return lua.LNil
	}
	t, _ := lib.DecodeArgs(s.l, string(b), 0)
	return t
}

func confType(c *plugins.Ctx) string {
	t := "route"
	if c.Service != nil {
		t += "&service"
	}
	if c.Consumer != nil {
		t += "&consumer"
	}
	return t
}

// stored is an object as it lies in the store.
func (s *state) stored(key string, obj any) lua.LValue {
	t := value.Table()
	t.RawSetString("key", str(key))
	t.RawSetString("value", s.tableOf(obj))
	return t
}

func (s *state) tableOf(obj any) lua.LValue {
	b, err := json.Marshal(obj)
	if err != nil {
		return lua.LNil
	}
	v, err := value.Decode(b)
	if err != nil {
		return lua.LNil
	}
	return v
}

// matched is what the router matched; captures are fields of it.
func (s *state) matched(c *plugins.Ctx) lua.LValue {
	if c.Route == nil {
		return lua.LNil
	}
	t := value.Table()
	t.RawSetString("_path", str(c.Matched.Path))
	if c.Matched.Host != "" {
		t.RawSetString("_host", str(c.Matched.Host))
	}
	t.RawSetString("_method", str(c.Req.Method))
	for _, p := range c.Params {
		name := p.Name
		if name == "*" || name == "" {
			name = ":ext"
		}
		t.RawSetString(strings.Clone(name), str(p.Value))
	}
	return t
}

func (s *state) consumer(c *plugins.Ctx) lua.LValue {
	if c.Consumer == nil || c.Consumer.Def == nil {
		return lua.LNil
	}
	t, ok := s.tableOf(c.Consumer.Def).(*lua.LTable)
	if !ok {
		return lua.LNil
	}
	name := str(c.Consumer.Def.Username)
	t.RawSetString("consumer_name", name)
	t.RawSetString("username", name)
	if id := c.Consumer.CredentialID; id != "" {
		t.RawSetString("credential_id", str(id))
	}
	return t
}

func (s *state) setPiece(piece []byte, last bool) {
	s.piece, s.last = lua.LNil, last
	if piece != nil || s.phase == "body_filter" {
		s.piece = lua.LString(piece)
	}
}

// takePiece is the piece after the program had it.
func (s *state) takePiece(piece []byte) []byte {
	if !s.touched {
		return piece
	}
	if v, ok := text(s.piece).(lua.LString); ok && s.piece != lua.LNil {
		return []byte(v)
	}
	return nil
}

func (s *state) argIndex(l *lua.LState) int {
	switch l.Get(2) {
	case lua.LNumber(1):
		l.Push(s.piece)
	case lua.LNumber(2):
		l.Push(lua.LBool(s.last))
	default:
		l.Push(lua.LNil)
	}
	return 1
}

func (s *state) argSet(l *lua.LState) int {
	if l.Get(2) == lua.LNumber(1) {
		s.piece, s.touched = l.Get(3), true
		if t, ok := s.piece.(*lua.LTable); ok {
			s.piece = lua.LString(value.Text(t))
		}
		if s.piece.Type() == lua.LTString && len(s.piece.(lua.LString)) > s.h.o.Output {
			l.RaiseError("piece is longer than %d bytes", s.h.o.Output)
		}
	}
	return 0
}
