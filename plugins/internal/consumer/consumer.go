// Package consumer is what the authenticating plugins share: making a consumer
// the request's, telling the upstream who it is, falling back to the anonymous
// one, and taking credentials out of what goes upstream.
//
// It does not know how a credential is checked.
package consumer

import (
	"strings"

	"sluice/plugins"
)

// The fields that tell the upstream who calls.
const (
	username   = "X-Consumer-Username"
	credential = "X-Credential-Identifier"
	customID   = "X-Consumer-Custom-ID"
)

// Attach makes found the consumer of the request. What the client sent in the
// fields that carry an identity is removed, also where a server would take a
// name for one of them because it cannot tell "_" from "-".
func Attach(c *plugins.Ctx, found *plugins.Consumer) {
	strip(c)
	c.Consumer = found
	def := found.Def
	c.Req.Header.Set(username, def.Username)
	if found.CredentialID != "" {
		c.Req.Header.Set(credential, found.CredentialID)
	}
	if id := def.Labels["custom_id"]; id != "" {
		c.Req.Header.Set(customID, id)
	}
}

// strip removes the identity fields. The first pass only looks: requests
// seldom have one.
func strip(c *plugins.Ctx) {
	h := &c.Req.Header
	for i := 0; i < h.Len(); {
		if name := h.At(i).Name; isIdentity(name) {
			h.Del(name)
			continue
		}
		i++
	}
}

func isIdentity(name string) bool {
	switch len(name) {
	case len(username): // 19
		return sameField(name, username)
	case len(credential): // 23
		return sameField(name, credential)
	case len(customID): // 20
		return sameField(name, customID)
	}
	return false
}

// sameField compares names of one length without case and with "_" as "-".
func sameField(a, b string) bool {
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == '_' {
			x = '-'
		}
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// Auth is what every authenticating plugin does with the outcome of its check.
type Auth struct {
	Plugin    string // its name, for the log
	Challenge string // value of WWW-Authenticate
	Anonymous string // username of the consumer to fall back to; "" for none
}

// Challenge returns the value of WWW-Authenticate for a scheme and a realm,
// which the schemas keep free of quotes.
func Challenge(scheme, realm string) string { return scheme + ` realm="` + realm + `"` }

// Fail ends the request with 401 and message, unless there is an anonymous
// consumer to go on with.
func (a *Auth) Fail(c *plugins.Ctx, message string) *plugins.Reply {
	if a.Anonymous == "" {
		return a.deny(c, message)
	}
	found := c.Find().ConsumerNamed(a.Anonymous)
	if found == nil {
		c.Log().Error("failed to authenticate the request", "plugin", a.Plugin,
			"err", "failed to get anonymous consumer "+a.Anonymous)
		return a.deny(c, "Invalid user authorization")
	}
	Attach(c, found)
	return nil
}

func (a *Auth) deny(c *plugins.Ctx, message string) *plugins.Reply {
	c.RespHeader.Set("WWW-Authenticate", a.Challenge)
	return plugins.Exit(401, plugins.Message{Message: message})
}

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
