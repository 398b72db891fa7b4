package consumer

import (
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
)

// HideArg removes every query argument called name from what goes upstream and
// from what later plugins see.
func HideArg(c *plugins.Ctx, name string) {
	query, changed := without(c.Query, name)
	if !changed {
		return
	}
	c.Query = query
	uri := c.UpstreamURI
	if uri == "" {
		uri = c.Req.Target
	}
	path, old, has := strings.Cut(uri, "?")
	if has {
		old, _ = without(old, name)
		if old != "" {
			path += "?" + old
		}
	}
	c.UpstreamURI = path
}

// HideCookie removes every cookie called name from the request.
func HideCookie(c *plugins.Ctx, name string) {
	h := &c.Req.Header
	var kept []string // values of the Cookie fields that are left
	found := false
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, "Cookie") {
			continue
		}
		value, changed := withoutCookie(f.Value, name)
		found = found || changed
		if value != "" {
			kept = append(kept, value)
		}
	}
	if !found {
		return
	}
	h.Del("Cookie")
	for _, value := range kept {
		h.Add("Cookie", value)
	}
}

// withoutCookie returns the cookies of a field less those called name.
func withoutCookie(cookies, name string) (string, bool) {
	var kept []string
	changed := false
	for pair := range strings.SplitSeq(cookies, ";") {
		pair = strings.TrimSpace(pair)
		if key, _, _ := strings.Cut(pair, "="); strings.TrimSpace(key) == name {
			changed = true
			continue
		}
		if pair != "" {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; "), changed
}

// without returns query less the pairs called name.
func without(query, name string) (string, bool) {
	kept := make([]byte, 0, len(query))
	changed := false
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, _, _ := strings.Cut(pair, "=")
		if unescape(key) == name {
			changed = true
			continue
		}
		if len(kept) > 0 {
			kept = append(kept, '&')
		}
		kept = append(kept, pair...)
	}
	if !changed {
		return query, false
	}
	return string(kept), true
}

// unescape decodes %XX and "+"; what is no escape stays as it is.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
