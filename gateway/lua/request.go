package lua

import (
	"net/url"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

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
		"socket":        func(l *lua.LState) int { return fail(l, "not available") },
		"set_body_file": func(l *lua.LState) int { l.RaiseError("ngx.req.set_body_file is not available"); return 0 },
	}
}

func httpVersion(c *plugins.Ctx) lua.LNumber {
	return lua.LNumber(float64(c.Req.Major*10+c.Req.Minor) / 10)
}

func (s *state) setMethod(l *lua.LState) int {
	c := s.request(l)
	id := l.CheckInt(1)
	for i, m := range methods {
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

// maxArgs is how many arguments are read unless the program says otherwise.
const maxArgs = 100

func (s *state) getURIArgs(l *lua.LState) int {
	c := s.request(l)
	t, cut := decodeArgs(l, c.Query, l.OptInt(1, maxArgs))
	l.Push(t)
	if cut {
		l.Push(lua.LString("truncated"))
		return 2
	}
	return 1
}

// decodeArgs makes a table of a query; names that come again get a table of all
// values, names without "=" true.
func decodeArgs(l *lua.LState, q string, limit int) (t *lua.LTable, cut bool) {
	t = l.NewTable()
	for n := 0; q != ""; {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		if pair == "" {
			continue
		}
		if n++; limit > 0 && n > limit {
			return t, true
		}
		key, val, has := strings.Cut(pair, "=")
		v := lua.LValue(lua.LTrue)
		if has {
			v = lua.LString(unescapeURI(val))
		}
		if key = unescapeURI(key); key != "" {
			addPair(l, t, key, v)
		}
	}
	return t, false
}

// encodeArgs is the reverse. Tables are walked in their order.
func encodeArgs(l *lua.LState, t *lua.LTable) string {
	var b []byte
	add := func(key string, v lua.LValue) {
		switch v := v.(type) {
		case lua.LBool:
			if !v {
				return
			}
			b = append(append(b, '&'), escapeURI(key)...)
		case lua.LString, lua.LNumber:
			b = append(append(append(append(b, '&'), escapeURI(key)...), '='), escapeURI(string(appendPrinted(nil, v, 0)))...)
		default:
			l.RaiseError("attempt to use %s as query arg value", v.Type())
		}
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		key := string(appendPrinted(nil, k, 0))
		if all, ok := v.(*lua.LTable); ok {
			for i := 1; i <= all.Len(); i++ {
				add(key, all.RawGetInt(i))
			}
			continue
		}
		add(key, v)
	}
	if len(b) == 0 {
		return ""
	}
	return string(b[1:])
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
		q = encodeArgs(l, v)
	default:
		q = strings.TrimPrefix(l.CheckString(1), "?")
	}
	follow := derived(c)
	c.Query = escapeControls(q)
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
	c.Path = path
	c.UpstreamURI = upstreamURI(c)
	return 0
}

// escapeControls makes a query safe to stand on a request line.
func escapeControls(q string) string {
	if !strings.ContainsFunc(q, func(r rune) bool { return r <= 0x20 || r == 0x7f }) {
		return q
	}
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(q) {
		if c := q[i]; c <= 0x20 || c == 0x7f {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// body reads the request's body; waiting for the client is no computing.
func (s *state) body(l *lua.LState, limit int64) ([]byte, error) {
	c := s.request(l)
	s.b.pause()
	defer s.b.resume()
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
	t, cut := decodeArgs(l, string(b), l.OptInt(1, maxArgs))
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
		"http_time":       func(l *lua.LState) int { l.Push(lua.LString(httpTime(seconds(l)))); return 1 },
		"cookie_time":     func(l *lua.LState) int { l.Push(lua.LString(cookieTime(seconds(l)))); return 1 },
		"parse_http_time": parseHTTPTime,
	}
}

func seconds(l *lua.LState) time.Time { return time.Unix(int64(l.CheckNumber(1)), 0).UTC() }

func httpTime(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 GMT") }

func cookieTime(t time.Time) string {
	if t.Year() > 2037 {
		return t.Format("Mon, 02-Jan-2006 15:04:05 GMT")
	}
	return t.Format("Mon, 02-Jan-06 15:04:05 GMT")
}

func parseHTTPTime(l *lua.LState) int {
	for _, layout := range [...]string{time.RFC1123, "Monday, 02-Jan-06 15:04:05 MST", time.ANSIC} {
		if t, err := time.Parse(layout, l.CheckString(1)); err == nil {
			l.Push(lua.LNumber(t.Unix()))
			return 1
		}
	}
	l.Push(lua.LNil)
	return 1
}
