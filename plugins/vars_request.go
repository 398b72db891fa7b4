package plugins

import (
	"strings"

	"sluice/gateway/wire"
)

// prefixes are the families of variables, longer ones before those they begin
// with.
var prefixes = [...]prefix{
	{text: "arg_", find: (*Ctx).Arg},
	{text: "http_", find: findRequestHeader, bind: bindRequestHeader},
	{text: "cookie_", find: (*Ctx).Cookie},
	{text: "uri_param_", find: findParam},
	{text: "post_arg_", find: findFormArg},
	{text: postArgPath, find: findPostArg, bind: bindPostArg},
	{text: "graphql_", find: findGraphQL},
	{text: "sent_http_", find: findSentHeader, bind: bindSentHeader},
	{text: "upstream_http_", find: findUpstreamHeader, bind: bindUpstreamHeader},
	{text: "upstream_cookie_", find: findUpstreamCookie},
}

// Arg returns the first value of a query argument, decoded; "true" for one
// without "=". It allocates only when the value has escapes.
func (c *Ctx) Arg(name string) (value string, ok bool) { return formValue(c.Query, name) }

// formValue finds the first pair called name in a text like a=1&b=2.
func formValue(q, name string) (string, bool) {
	v, found, _ := formLookup(q, name)
	return v, found
}

// formLookup is formValue that tells a flag, a pair without "=", from a value.
func formLookup(q, name string) (value string, found, flag bool) {
	for q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		key, val, has := strings.Cut(pair, "=")
		if !sameDecoded(key, name) || key == "" {
			continue
		}
		if !has {
			return "true", true, true
		}
		return Unescape(val), true, false
	}
	return "", false, false
}

// sameDecoded reports whether escaped, decoded, is plain.
func sameDecoded(escaped, plain string) bool {
	if len(escaped) < len(plain) {
		return false
	}
	j := 0
	for i := 0; i < len(escaped); i++ {
		if j == len(plain) {
			return false
		}
		b := escaped[i]
		switch {
		case b == '+':
			b = ' '
		case b == '%':
			if x, ok := hexPair(escaped[i:]); ok {
				b = x
				i += 2
			}
		}
		if b != plain[j] {
			return false
		}
		j++
	}
	return j == len(plain)
}

// Unescape decodes %XX and "+" of queries and forms; a "%" that begins no escape
// stays.
func Unescape(s string) string {
	first := strings.IndexAny(s, "%+")
	if first < 0 {
		return s
	}
	b := make([]byte, first, len(s))
	copy(b, s)
	for i := first; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, ' ')
			continue
		case '%':
			if x, ok := hexPair(s[i:]); ok {
				b = append(b, x)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// hexPair reads the %XX that s begins with.
func hexPair(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := hexDigit(s[1])
	lo, ok2 := hexDigit(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// Cookie returns a cookie of the request. When there are several of that name
// the last one counts.
func (c *Ctx) Cookie(name string) (value string, ok bool) {
	h := &c.Req.Header
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, "Cookie") {
			continue
		}
		if v, found := cookieValue(f.Value, name); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// cookieValue scans a text like a=1; b=2. A value ends at a semicolon or white
// space; a name without "=" is passed over.
func cookieValue(s, name string) (value string, ok bool) {
	for s != "" {
		s = strings.TrimLeft(s, " \t;")
		end := strings.IndexAny(s, "=;")
		if end < 0 {
			return value, ok
		}
		if s[end] == ';' {
			s = s[end:]
			continue
		}
		key := s[:end]
		s = s[end+1:]
		n := strings.IndexAny(s, "; \t")
		if n < 0 {
			n = len(s)
		}
		if key == name {
			value, ok = s[:n], true
		}
		s = s[n:]
	}
	return value, ok
}

func findParam(c *Ctx, name string) (string, bool) {
	for i := range c.Params {
		if c.Params[i].Name == name {
			return c.Params[i].Value, true
		}
	}
	return "", false
}

// headerKey is name as variables spell it: lower case, "_" for "-".
func headerKey(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

// isKey reports whether a field's name is spelt key in variables.
func isKey(name, key string) bool {
	if len(name) != len(key) {
		return false
	}
	for i := range len(name) {
		b := name[i]
		if b == key[i] && b != '-' {
			continue
		}
		switch {
		case b == '-':
			b = '_'
		case 'A' <= b && b <= 'Z':
			b |= 0x20
		}
		if b != key[i] {
			return false
		}
	}
	return true
}

// headerValue joins the values of the fields spelt key by sep. It allocates
// only when there are several.
func headerValue(h *wire.Header, key, sep string) (value string, ok bool) {
	for i := range h.Len() {
		if !isKey(h.NameAt(i), key) {
			continue
		}
		if f := h.At(i); ok {
			value += sep + f.Value
		} else {
			value, ok = f.Value, true
		}
	}
	return value, ok
}

func findRequestHeader(c *Ctx, name string) (string, bool) {
	return bindRequestHeader(name)(c)
}

// bindRequestHeader knows the fields that the engine took out of the header.
func bindRequestHeader(name string) Getter {
	switch key := headerKey(name); key {
	case "host":
		return func(c *Ctx) (string, bool) { return c.Req.Host, c.Req.Host != "" }
	case "upgrade":
		return func(c *Ctx) (string, bool) { return c.Req.Upgrade, c.Req.Upgrade != "" }
	case "connection":
		return func(c *Ctx) (string, bool) {
			if c.Req.Upgrade != "" {
				return "upgrade", true
			}
			return "", false
		}
	case "cookie":
		return func(c *Ctx) (string, bool) { return headerValue(&c.Req.Header, key, "; ") }
	case "content_length":
		return contentLength
	default:
		return func(c *Ctx) (string, bool) { return headerValue(&c.Req.Header, key, ", ") }
	}
}

func findSentHeader(c *Ctx, name string) (string, bool) { return bindSentHeader(name)(c) }

func bindSentHeader(name string) Getter {
	key := headerKey(name)
	return func(c *Ctx) (string, bool) { return responseHeader(c, key) }
}

func findUpstreamHeader(c *Ctx, name string) (string, bool) { return bindUpstreamHeader(name)(c) }

func bindUpstreamHeader(name string) Getter {
	key := headerKey(name)
	return func(c *Ctx) (string, bool) {
		if len(c.Tries) == 0 {
			return "", false
		}
		return responseHeader(c, key)
	}
}

func responseHeader(c *Ctx, key string) (string, bool) {
	if c.Resp == nil {
		return "", false
	}
	if v, ok := headerValue(&c.Resp.Header, key, ", "); ok {
		return v, true
	}
	if key == "content_length" && c.Resp.ContentLength >= 0 {
		return itoa(c.Resp.ContentLength), true
	}
	return "", false
}

// findUpstreamCookie looks a cookie up among those that the upstream sets.
func findUpstreamCookie(c *Ctx, name string) (string, bool) {
	if c.Resp == nil || len(c.Tries) == 0 {
		return "", false
	}
	h := &c.Resp.Header
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, "Set-Cookie") {
			continue
		}
		pair, _, _ := strings.Cut(f.Value, ";")
		if key, val, ok := strings.Cut(pair, "="); ok && strings.TrimSpace(key) == name {
			return val, true
		}
	}
	return "", false
}
