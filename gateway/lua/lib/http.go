package lib

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

	"sluice/gateway/lua/value"
)

// HTTP is resty.http: new() and request_uri(). The zero value is not ready.
type HTTP struct {
	Transport http.RoundTripper
	Limit     int           // bytes of an answer's body
	Timeout   time.Duration // unless the program sets one
	// Block runs f where a call may wait: its context ends when it may no more.
	Block func(l *lua.LState, f func(context.Context))
}

// client is an object of resty.http.
type client struct{ timeout time.Duration }

// Module makes the module for an interpreter.
func (h *HTTP) Module(l *lua.LState) *lua.LTable {
	of := func(l *lua.LState) *client {
		c, ok := l.CheckUserData(1).Value.(*client)
		if !ok {
			l.ArgError(1, "http client expected")
		}
		return c
	}
	succeed := func(l *lua.LState) int { l.Push(lua.LNumber(1)); return 1 }
	headers := value.Table()
	headers.RawSetString("__index", l.NewFunction(anyCase))
	headers.RawSetString("__metatable", lua.LFalse)
	mt := value.Table()
	mt.RawSetString("__metatable", lua.LFalse)
	mt.RawSetString("__index", Table(l, map[string]lua.LGFunction{
		"set_timeout": func(l *lua.LState) int {
			of(l).timeout = Duration(l.CheckNumber(2), time.Millisecond)
			return 0
		},
		"set_timeouts": func(l *lua.LState) int {
			ms := l.CheckNumber(2) + l.OptNumber(3, 0) + l.OptNumber(4, 0)
			of(l).timeout = Duration(ms, time.Millisecond)
			return 0
		},
		"request_uri":   func(l *lua.LState) int { return h.requestURI(l, of(l), headers) },
		"set_keepalive": succeed, "close": succeed,
	}))
	return Table(l, map[string]lua.LGFunction{"new": func(l *lua.LState) int {
		ud := l.NewUserData()
		ud.Value, ud.Metatable = &client{timeout: h.Timeout}, mt
		l.Push(ud)
		return 1
	}})
}

// anyCase finds response fields, which are stored as Go spells them.
func anyCase(l *lua.LState) int {
	l.Push(l.CheckTable(1).RawGetString(http.CanonicalHeaderKey(FieldName(lua.LVAsString(l.Get(2))))))
	return 1
}

// answer is what came back, whole.
type answer struct {
	resp *http.Response
	body []byte
	err  error
}

func (h *HTTP) requestURI(l *lua.LState, c *client, headerMeta *lua.LTable) int {
	params, _ := l.Get(3).(*lua.LTable)
	if params == nil {
		params = value.Table()
	}
	req, err := outgoing(l, l.CheckString(2), params)
	if err != nil {
		return Fail(l, err.Error())
	}
	verify := params.RawGetString("ssl_verify") != lua.LFalse
	var a answer
	h.Block(l, func(ctx context.Context) {
		if c.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		a = h.fetch(req.WithContext(ctx), verify)
	})
	if a.err != nil {
		return Fail(l, httpError(a.err))
	}
	res := value.Table()
	res.RawSetString("status", lua.LNumber(a.resp.StatusCode))
	res.RawSetString("reason", lua.LString(http.StatusText(a.resp.StatusCode)))
	res.RawSetString("body", lua.LString(a.body))
	res.RawSetString("has_body", lua.LBool(len(a.body) > 0))
	headers := value.Table()
	for name, values := range a.resp.Header {
		for _, v := range values {
			AddPair(l, headers, name, lua.LString(v))
		}
	}
	headers.Metatable = headerMeta
	res.RawSetString("headers", headers)
	l.Push(res)
	return 1
}

func outgoing(l *lua.LState, uri string, params *lua.LTable) (*http.Request, error) {
	method := "GET"
	if m, ok := params.RawGetString("method").(lua.LString); ok {
		method = string(m)
	}
	var body []byte
	if v := params.RawGetString("body"); v != lua.LNil {
		body = value.AppendPrinted(nil, v)
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
		req.URL.RawQuery = EncodeArgs(l, q)
	case lua.LString:
		req.URL.RawQuery = strings.TrimPrefix(string(q), "?")
	}
	if h, ok := params.RawGetString("headers").(*lua.LTable); ok {
		for k, v := h.Next(lua.LNil); k != lua.LNil; k, v = h.Next(k) {
			setOutgoing(req, CleanName(k.String()), v)
		}
	}
	return req, nil
}

func setOutgoing(req *http.Request, name string, v lua.LValue) {
	if strings.EqualFold(name, "host") {
		req.Host = value.Text(v)
		return
	}
	if HopByHop[strings.ToLower(name)] {
		return
	}
	if t, ok := v.(*lua.LTable); ok {
		for i := 1; i <= t.Len(); i++ {
			req.Header.Add(name, Clean(value.Text(t.RawGetInt(i))))
		}
		return
	}
	req.Header.Set(name, Clean(value.Text(v)))
}

// fetch makes one request; redirects are the program's business.
func (h *HTTP) fetch(req *http.Request, verify bool) answer {
	rt := h.Transport
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
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(h.Limit)+1))
	if err == nil && len(b) > h.Limit {
		err = fmt.Errorf("answer is longer than %d bytes", h.Limit)
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
