package lua

import (
	"net/url"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/lib"
	"sluice/plugins"
)

// reqFunctions are ngx.req.
func (s *state) reqFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"get_headers": func(l *lua.LState) int { l.Push(s.headerTable(s.request(l))); return 1 },
		"set_header": func(l *lua.LState) int {
			setRequestHeader(s.request(l), strings.Clone(l.CheckString(1)), l.Get(2))
			return 0
		},
		"clear_header": func(l *lua.LState) int { setRequestHeader(s.request(l), l.CheckString(1), lua.LNil); return 0 },
		"get_method":   func(l *lua.LState) int { l.Push(str(s.request(l).Req.Method)); return 1 },
		"set_method":   s.setMethod,
		"http_version": func(l *lua.LState) int { l.Push(httpVersion(s.request(l))); return 1 },
		"start_time": func(l *lua.LState) int {
			l.Push(lua.LNumber(float64(s.request(l).Start.UnixMilli()) / 1000))
			return 1
		},
		"raw_header":    s.rawHeader,
		"is_internal":   no,
		"get_uri_args":  s.getURIArgs,
		"set_uri_args":  s.setURIArgs,
		"set_uri":       s.setURI,
		"read_body":     s.readBody,
		"discard_body":  func(l *lua.LState) int { s.request(l).SetBody(nil); return 0 },
		"get_body_data": s.getBody,
		"get_body_file": func(l *lua.LState) int { l.Push(lua.LNil); return 1 },
		"set_body_data": func(l *lua.LState) int { s.request(l).SetBody([]byte(l.CheckString(1))); return 0 },
		"get_post_args": s.getPostArgs,
		"finish_body":   nothing,
		"init_body":     nothing,
		"append_body":   func(l *lua.LState) int { l.RaiseError("ngx.req.append_body is not available"); return 0 },
		"socket":        func(l *lua.LState) int { return lib.Fail(l, "not available") },
		"set_body_file": func(l *lua.LState) int { l.RaiseError("ngx.req.set_body_file is not available"); return 0 },
	}
}

func httpVersion(c *plugins.Ctx) lua.LNumber {
	return lua.LNumber(float64(c.Req.Major*10+c.Req.Minor) / 10)
}

func (s *state) setMethod(l *lua.LState) int {
	c := s.request(l)
	id := l.CheckInt(1)
	for i, m := range lib.Methods {
		if id == 2<<i {
			c.Req.Method = m
			return 0
		}
	}
	l.RaiseError("unsupported HTTP method: %d", id)
	return 0
}

func (s *state) rawHeader(l *lua.LState) int {
	c := s.request(l)
	var b strings.Builder
	if !l.OptBool(1, false) {
		b.WriteString(c.Req.Method + " " + c.Req.Target + " HTTP/" + httpVersion(c).String() + "\r\n")
	}
	b.WriteString("Host: " + c.Req.Host + "\r\n")
	for name, value := range c.Req.Header.All() {
		b.WriteString(name + ": " + value + "\r\n")
	}
	b.WriteString("\r\n")
	l.Push(lua.LString(b.String()))
	return 1
}

func (s *state) getURIArgs(l *lua.LState) int {
	c := s.request(l)
	t, cut := lib.DecodeArgs(l, c.Query, l.OptInt(1, lib.MaxArgs))
	l.Push(t)
	if cut {
		l.Push(lua.LString("truncated"))
		return 2
	}
	return 1
}

// derived reports whether the upstream's URI is made of path and query, or was
// set by somebody to something else.
func derived(c *plugins.Ctx) bool {
	return c.UpstreamURI == "" || c.UpstreamURI == upstreamURI(c)
}

func upstreamURI(c *plugins.Ctx) string {
	u := (&url.URL{Path: c.Path}).EscapedPath()
	if c.Query != "" {
		u += "?" + c.Query
	}
	return u
}

func (s *state) setURIArgs(l *lua.LState) int {
	c := s.request(l)
	q := ""
	switch v := l.Get(1).(type) {
	case *lua.LTable:
		q = lib.EncodeArgs(l, v)
	default:
		q = strings.TrimPrefix(l.CheckString(1), "?")
	}
	follow := derived(c)
	c.Query = lib.EscapeQuery(q)
	if follow {
		c.UpstreamURI = upstreamURI(c)
	}
	return 0
}

func (s *state) setURI(l *lua.LState) int {
	c := s.request(l)
	path := strings.Clone(l.CheckString(1))
	if path == "" {
		l.RaiseError("attempt to use zero-length uri")
	}
	if l.OptBool(2, false) {
		l.RaiseError("ngx.req.set_uri with jump is not available in this phase")
	}
	if i := strings.IndexFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }); i >= 0 {
		l.RaiseError("unsafe byte \"0x%02x\" in uri \"%s\"", path[i], path)
	}
	if path[0] != '/' {
		path = "/" + path
	}
	c.Path, c.Rewritten = path, ""
	c.UpstreamURI = upstreamURI(c)
	return 0
}

// body reads the request's body; waiting for the client is no computing.
func (s *state) body(l *lua.LState, limit int64) ([]byte, error) {
	c := s.request(l)
	s.b.Pause()
	defer s.b.Resume()
	return c.Body(limit)
}

func (s *state) readBody(l *lua.LState) int {
	if _, err := s.body(l, 0); err != nil {
		l.RaiseError("failed to read the request body: %s", err.Error())
	}
	return 0
}

func (s *state) getBody(l *lua.LState) int {
	b, ok := s.request(l).BufferedBody()
	if !ok || len(b) == 0 {
		l.Push(lua.LNil)
	} else {
		l.Push(lua.LString(b))
	}
	return 1
}

func (s *state) getPostArgs(l *lua.LState) int {
	b, _ := s.request(l).BufferedBody()
	t, cut := lib.DecodeArgs(l, string(b), l.OptInt(1, lib.MaxArgs))
	l.Push(t)
	if cut {
		l.Push(lua.LString("truncated"))
		return 2
	}
	return 1
}

// clock functions of ngx.
func (s *state) timeFunctions() map[string]lua.LGFunction {
	push := func(format func(time.Time) lua.LValue) lua.LGFunction {
		return func(l *lua.LState) int { l.Push(format(s.h.o.Now())); return 1 }
	}
	layout := func(layout string, utc bool) lua.LGFunction {
		return push(func(t time.Time) lua.LValue {
			if utc {
				t = t.UTC()
			}
			return lua.LString(t.Format(layout))
		})
	}
	return map[string]lua.LGFunction{
		"now":             push(func(t time.Time) lua.LValue { return lua.LNumber(float64(t.UnixMilli()) / 1000) }),
		"time":            push(func(t time.Time) lua.LValue { return lua.LNumber(t.Unix()) }),
		"today":           layout("2006-01-02", false),
		"localtime":       layout(time.DateTime, false),
		"utctime":         layout(time.DateTime, true),
		"http_time":       lib.HTTPTime,
		"cookie_time":     lib.CookieTime,
		"parse_http_time": lib.ParseHTTPTime,
	}
}
