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

// withoutCookie returns the cookies of a field less those called name. As for
// Ctx.Cookie a value ends at white space, and another cookie may stand behind it.
func withoutCookie(cookies, name string) (string, bool) {
	var pairs []string
	changed := false
	for pair := range strings.SplitSeq(cookies, ";") {
		var kept []string
		for rest := strings.TrimSpace(pair); rest != ""; {
			key, value, _ := strings.Cut(rest, "=")
			one := rest
			if end := strings.IndexAny(value, " \t"); end >= 0 {
				one = rest[:len(rest)-len(value)+end]
			}
			rest = strings.TrimSpace(rest[len(one):])
			if strings.TrimSpace(key) == name {
				changed = true
				continue
			}
			kept = append(kept, one)
		}
		if len(kept) > 0 {
			pairs = append(pairs, strings.Join(kept, " "))
		}
	}
	if !changed {
		return cookies, false
	}
	return strings.Join(pairs, "; "), true
}

// without returns query less the pairs called name.
func without(query, name string) (string, bool) {
	kept := make([]byte, 0, len(query))
	changed := false
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, _, _ := strings.Cut(pair, "=")
		if plugins.Unescape(key) == name {
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
