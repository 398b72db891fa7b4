package lua

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/gateway/lua/value"
	"sluice/plugins"
)

// makeNgx makes the table ngx.
func (s *state) makeNgx() *lua.LTable {
	t := s.table(map[string]lua.LGFunction{
		"say": s.say, "print": s.put, "exit": s.exitNow, "redirect": s.redirect, "log": s.log, "sleep": s.sleep,
		"eof": nothing, "flush": succeed, "send_headers": succeed, "update_time": nothing, "on_abort": succeed,
		"get_phase": s.getPhase,
	})
	for _, fns := range []map[string]lua.LGFunction{s.timeFunctions(), lib.Text} {
		for name, f := range fns {
			t.RawSetString(name, s.l.NewFunction(f))
		}
	}
	for name, n := range lib.Constants {
		t.RawSetString(name, n)
	}
	t.RawSetString("null", value.Null)
	t.RawSetString("var", s.hooks(s.ngxVarIndex, s.varSet))
	t.RawSetString("header", s.hooks(s.respHeaderIndex, s.respHeaderSet))
	t.RawSetString("arg", s.hooks(s.argIndex, s.argSet))
	t.RawSetString("shared", s.hooks(s.sharedIndex, nil))
	t.RawSetString("req", s.table(s.reqFunctions()))
	t.RawSetString("resp", s.table(map[string]lua.LGFunction{"get_headers": s.respHeaders, "add_header": s.respHeaderAdd}))
	t.RawSetString("re", s.table(s.h.regexes.Functions(s.h.o.Output)))
	t.RawSetString("timer", s.table(map[string]lua.LGFunction{"at": s.timerAt, "running_count": s.timerCount, "pending_count": zero}))
	t.RawSetString("worker", s.table(map[string]lua.LGFunction{"id": zero, "count": one, "exiting": no,
		"pid": func(l *lua.LState) int { l.Push(lua.LNumber(os.Getpid())); return 1 }}))
	cfg := s.table(map[string]lua.LGFunction{"prefix": func(l *lua.LState) int { l.Push(lua.LString("")); return 1 }})
	for name, v := range map[string]lua.LValue{"subsystem": lua.LString("http"), "debug": lua.LFalse,
		"nginx_version": lua.LNumber(1027001), "ngx_lua_version": lua.LNumber(10028)} {
		cfg.RawSetString(name, v)
	}
	t.RawSetString("config", cfg)
	t.Metatable = s.hookMeta(s.ngxIndex, s.ngxSet)
	return t
}

func nothing(*lua.LState) int   { return 0 }
func succeed(l *lua.LState) int { l.Push(lua.LNumber(1)); return 1 }
func zero(l *lua.LState) int    { l.Push(lua.LNumber(0)); return 1 }
func one(l *lua.LState) int     { l.Push(lua.LNumber(1)); return 1 }
func no(l *lua.LState) int      { l.Push(lua.LFalse); return 1 }

func (s *state) ngxIndex(l *lua.LState) int {
	v := lua.LValue(lua.LNil)
	switch lua.LVAsString(l.Get(2)) {
	case "status":
		v = lua.LNumber(s.currentStatus())
	case "ctx":
		s.request(l)
		v = s.ngxCtx
	case "headers_sent":
		v = lua.LBool(s.printed || s.phase == "body_filter" || s.phase == "log")
	case "is_subrequest":
		v = lua.LFalse
	}
	l.Push(v)
	return 1
}

func (s *state) currentStatus() int {
	if s.c == nil || s.c.Resp == nil || s.status != 0 {
		return s.status
	}
	return s.c.Resp.Status
}

func (s *state) ngxSet(l *lua.LState) int {
	switch lua.LVAsString(l.Get(2)) {
	case "status":
		s.setStatus(l, int(lua.LVAsNumber(l.Get(3))))
	case "ctx":
		t := l.CheckTable(3)
		if t.Metatable == lua.LNil {
			t.Metatable = s.ngxMeta
		}
		s.ngxCtx = t
	default:
		l.RawSet(l.CheckTable(1), l.Get(2), l.Get(3))
	}
	return 0
}

func (s *state) setStatus(l *lua.LState, code int) {
	c := s.request(l)
	if s.printed {
		c.Log().Error("attempt to set ngx.status after sending out response headers")
		return
	}
	if err := checkStatus(code); err != nil || code < 1 {
		l.RaiseError("bad status %d", code)
	}
	if s.phase == "header_filter" && c.Resp != nil {
		c.Resp.Status = code
	}
	s.status = code
}

func (s *state) put(l *lua.LState) int {
	s.request(l)
	s.printed = true
	for i := 1; i <= l.GetTop(); i++ {
		if s.out = value.AppendPrinted(s.out, l.Get(i)); len(s.out) > s.h.o.Output {
			l.RaiseError("more than %d bytes printed", s.h.o.Output)
		}
	}
	l.Push(lua.LNumber(1))
	return 1
}

func (s *state) say(l *lua.LState) int {
	l.Push(lua.LString("\n"))
	return s.put(l)
}

func (s *state) exitNow(l *lua.LState) int {
	s.request(l)
	code := l.CheckInt(1)
	if err := checkStatus(code); err != nil {
		l.RaiseError("%s", err.Error())
	}
	s.leaveWith(l, exit{asked: true, code: code})
	return 0
}

// leaveWith ends the call with e; a coroutine takes its creators with it.
func (s *state) leaveWith(l *lua.LState, e exit) {
	s.exit = e
	if l != s.l {
		s.b.End(context.Canceled)
	}
	l.Error(s.stop, 0)
}

// checkStatus refuses what is neither a status nor one of nginx's own codes, which
// are not above 0: a client could not read such an answer.
func checkStatus(code int) error {
	if code > 0 && code < 100 || code > 999 {
		return fmt.Errorf("bad status %d", code)
	}
	return nil
}

func (s *state) redirect(l *lua.LState) int {
	s.request(l)
	rep := &plugins.Reply{Status: l.OptInt(2, 302)}
	switch rep.Status {
	case 301, 302, 303, 307, 308:
	default:
		l.RaiseError("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed")
	}
	rep.Header.Set("Location", lib.Clean(l.CheckString(1)))
	s.leaveWith(l, exit{asked: true, reply: rep})
	return 0
}

// finish is the end of a plugin function that returned (code, body), and
// core.response.exit. Without a code it only prints.
func (s *state) finish(code lua.LValue, bodies ...lua.LValue) error {
	n, isCode := code.(lua.LNumber)
	if err := checkStatus(int(n)); err != nil {
		return err
	}
	if !isCode && code != lua.LNil {
		bodies = append([]lua.LValue{code}, bodies...)
	}
	present := bodies[:0:0]
	for _, b := range bodies {
		if b != lua.LNil {
			present = append(present, b)
		}
	}
	if isCode && !s.printed && len(present) == 1 {
		rep := &plugins.Reply{Status: int(n)}
		if t, ok := present[0].(*lua.LTable); ok {
			b, err := s.encode(t)
			if err != nil {
				return err
			}
			rep.Body = raw(b)
		} else {
			rep.Body = value.Text(present[0])
		}
		s.exit = exit{asked: true, code: int(n), reply: rep}
		return nil
	}
	if isCode && !s.printed {
		s.status = int(n)
	}
	for _, b := range present {
		if t, ok := b.(*lua.LTable); ok {
			text, err := s.encode(t)
			if err != nil {
				return err
			}
			s.out = append(append(s.out, text...), '\n')
		} else {
			s.out = value.AppendPrinted(s.out, b)
		}
		if s.printed = true; len(s.out) > s.h.o.Output {
			return fmt.Errorf("more than %d bytes printed", s.h.o.Output)
		}
	}
	if isCode {
		s.exit = exit{asked: true, code: int(n)}
	}
	return nil
}

func (s *state) logger() *slog.Logger {
	if s.c != nil {
		return s.c.Log()
	}
	return s.h.o.Log
}

// levels are slog's for nginx's.
var levels = [...]slog.Level{slog.LevelError, slog.LevelError, slog.LevelError, slog.LevelError, slog.LevelError,
	slog.LevelWarn, slog.LevelInfo, slog.LevelInfo, slog.LevelDebug}

func (s *state) log(l *lua.LState) int {
	n := l.CheckInt(1)
	if n < 0 || n >= len(levels) {
		l.ArgError(1, "bad log level")
	}
	s.writeLog(l, levels[n], 2)
	return 0
}

// maxLogged is how much of a message is logged, in bytes.
const maxLogged = 64 << 10

func (s *state) writeLog(l *lua.LState, level slog.Level, from int) {
	log := s.logger()
	if !log.Enabled(context.Background(), level) {
		return
	}
	log.Log(context.Background(), level, message(l, from, ""), "at", strings.TrimSuffix(l.Where(1), ":"))
}

// message is the text of the arguments from the one at from on.
func message(l *lua.LState, from int, between string) string {
	var b []byte
	for i := from; i <= l.GetTop() && len(b) < maxLogged; i++ {
		if i > from {
			b = append(b, between...)
		}
		text := l.ToStringMeta(l.Get(i)).String()
		b = append(b, text[:min(len(text), maxLogged)]...)
	}
	return string(b[:min(len(b), maxLogged)])
}

func (s *state) sharedIndex(l *lua.LState) int {
	d := s.h.dicts.Get(lua.LVAsString(l.Get(2)))
	if d == nil {
		l.Push(lua.LNil)
		return 1
	}
	mt := s.libs["dict"]
	if mt == nil {
		mt = value.Table()
		mt.RawSetString("__index", s.table(lib.DictMethods))
		mt.RawSetString("__metatable", lua.LFalse)
		s.libs["dict"] = mt
	}
	ud := l.NewUserData()
	ud.Value, ud.Metatable = d, mt
	l.Push(ud)
	return 1
}

// block runs wait, which waits for others at most for what is left of the
// call's time to do so.
func (s *state) block(l *lua.LState, wait func(context.Context)) {
	left := s.h.o.Blocking - s.blocked
	if left <= 0 {
		l.RaiseError("waited for more than %v", s.h.o.Blocking)
	}
	parent := s.h.ctx
	if s.c != nil && s.c.Context != nil {
		parent = s.c.Context
	}
	ctx, cancel := context.WithTimeout(parent, left)
	defer cancel()
	s.b.Pause()
	defer s.b.Resume()
	begin := time.Now()
	wait(ctx)
	s.blocked += time.Since(begin)
}

func (s *state) sleep(l *lua.LState) int {
	d := lib.Duration(l.CheckNumber(1), time.Second)
	if d < 0 {
		l.RaiseError("invalid sleep duration %v", l.Get(1))
	}
	done := false
	s.block(l, func(ctx context.Context) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			done = true
		case <-ctx.Done():
		}
	})
	if !done {
		l.RaiseError("sleep cut short")
	}
	return 0
}

func (s *state) getPhase(l *lua.LState) int {
	phase := s.phase
	switch phase {
	case "rewrite", "before_proxy":
		phase = "access"
	}
	l.Push(lua.LString(phase))
	return 1
}

// ngxVarIndex answers for ngx.var. Unlike ctx.var, which keeps the path that was
// matched, it follows a plugin that has set nginx's.
func (s *state) ngxVarIndex(l *lua.LState) int {
	c := s.request(l)
	if name := l.Get(2); c.Rewritten != "" && (name == lua.LString("uri") || name == lua.LString("document_uri")) {
		l.Push(str(c.Rewritten))
		return 1
	}
	return s.varIndex(l)
}
