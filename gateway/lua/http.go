package lua

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// client is an object of resty.http.
type client struct{ timeout time.Duration }

// restyHTTP is resty.http: new() and request_uri().
func (s *state) restyHTTP() *lua.LTable {
	of := func(l *lua.LState) *client {
		c, ok := l.CheckUserData(1).Value.(*client)
		if !ok {
			l.ArgError(1, "http client expected")
		}
		return c
	}
	mt := s.l.NewTable()
	mt.RawSetString("__metatable", lua.LFalse)
	mt.RawSetString("__index", s.table(map[string]lua.LGFunction{
		"set_timeout": func(l *lua.LState) int {
			of(l).timeout = time.Duration(l.CheckNumber(2)) * time.Millisecond
			return 0
		},
		"set_timeouts": func(l *lua.LState) int {
			ms := l.CheckNumber(2) + l.OptNumber(3, 0) + l.OptNumber(4, 0)
			of(l).timeout = time.Duration(ms) * time.Millisecond
			return 0
		},
		"request_uri":   func(l *lua.LState) int { return s.requestURI(l, of(l)) },
		"set_keepalive": succeed, "close": succeed,
	}))
	return s.table(map[string]lua.LGFunction{"new": func(l *lua.LState) int {
		ud := l.NewUserData()
		ud.Value, ud.Metatable = &client{timeout: s.h.o.Blocking}, mt
		l.Push(ud)
		return 1
	}})
}

// answer is what came back, whole.
type answer struct {
	resp *http.Response
	body []byte
	err  error
}

func (s *state) requestURI(l *lua.LState, c *client) int {
	params, _ := l.Get(3).(*lua.LTable)
	if params == nil {
		params = l.NewTable()
	}
	req, err := outgoing(l, l.CheckString(2), params)
	if err != nil {
		return fail(l, err.Error())
	}
	verify := params.RawGetString("ssl_verify") != lua.LFalse
	var a answer
	s.block(l, func(ctx context.Context) {
		if c.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		a = s.h.fetch(req.WithContext(ctx), verify)
	})
	if a.err != nil {
		return fail(l, httpError(a.err))
	}
	res := l.NewTable()
	res.RawSetString("status", lua.LNumber(a.resp.StatusCode))
	res.RawSetString("reason", lua.LString(http.StatusText(a.resp.StatusCode)))
	res.RawSetString("body", lua.LString(a.body))
	res.RawSetString("has_body", lua.LBool(len(a.body) > 0))
	headers := l.NewTable()
	for name, values := range a.resp.Header {
		for _, v := range values {
			addPair(l, headers, name, lua.LString(v))
		}
	}
	headers.Metatable = s.anyCase()
	res.RawSetString("headers", headers)
	l.Push(res)
	return 1
}

// anyCase finds response fields, which are stored as Go spells them.
func (s *state) anyCase() *lua.LTable {
	if t := s.libs["anyCase"]; t != nil {
		return t
	}
	t := s.hookMeta(func(l *lua.LState) int {
		l.Push(l.CheckTable(1).RawGetString(http.CanonicalHeaderKey(fieldName(lua.LVAsString(l.Get(2))))))
		return 1
	}, nil)
	s.libs["anyCase"] = t
	return t
}

func outgoing(l *lua.LState, uri string, params *lua.LTable) (*http.Request, error) {
	method := "GET"
	if m, ok := params.RawGetString("method").(lua.LString); ok {
		method = string(m)
	}
	var body []byte
	if v := params.RawGetString("body"); v != lua.LNil {
		body = appendPrinted(nil, v, 0)
	}
	req, err := http.NewRequest(method, uri, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("bad uri: %s", uri)
	}
	if p, ok := params.RawGetString("path").(lua.LString); ok {
		req.URL.Path, req.URL.RawPath = string(p), ""
	}
	switch q := params.RawGetString("query").(type) {
	case *lua.LTable:
		req.URL.RawQuery = encodeArgs(l, q)
	case lua.LString:
		req.URL.RawQuery = strings.TrimPrefix(string(q), "?")
	}
	if h, ok := params.RawGetString("headers").(*lua.LTable); ok {
		for k, v := h.Next(lua.LNil); k != lua.LNil; k, v = h.Next(k) {
			setOutgoing(req, k.String(), v)
		}
	}
	return req, nil
}

func setOutgoing(req *http.Request, name string, v lua.LValue) {
	if strings.EqualFold(name, "host") {
		req.Host = string(appendPrinted(nil, v, 0))
		return
	}
	if hopByHop[strings.ToLower(name)] {
		return
	}
	if t, ok := v.(*lua.LTable); ok {
		for i := 1; i <= t.Len(); i++ {
			req.Header.Add(name, clean(string(appendPrinted(nil, t.RawGetInt(i), 0))))
		}
		return
	}
	req.Header.Set(name, clean(string(appendPrinted(nil, v, 0))))
}

// fetch makes one request; redirects are the program's business.
func (h *Host) fetch(req *http.Request, verify bool) answer {
	rt := h.transport()
	if tr, ok := rt.(*http.Transport); ok && !verify && req.URL.Scheme == "https" {
		own := tr.Clone()
		own.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		own.DisableKeepAlives = true
		rt = own
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(h.o.Output)+1))
	if err == nil && len(b) > h.o.Output {
		err = fmt.Errorf("answer is longer than %d bytes", h.o.Output)
	}
	return answer{resp, b, err}
}

// httpError words what lua-resty-http would say.
func httpError(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case strings.Contains(err.Error(), "connection refused"):
		return "connection refused"
	case errors.Is(err, io.EOF):
		return "closed"
	}
	return err.Error()
}
