// Package csrf lets requests that change something through only when they
// repeat, in a field, the signed token of their cookie: another site can make a
// browser send the cookie, but cannot read it.
package csrf

import (
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"strconv"
	"time"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is csrf.
var Plugin = plugins.Spec{
	Name:     "csrf",
	Priority: 2980,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Key     string `json:"key"`
	Expires int64  `json:"expires"` // seconds
	Name    string `json:"name"`
}

type guard struct {
	config
	now    func() time.Time
	cookie plugins.Getter
}

var (
	noField   = plugins.Exit(401, plugins.ErrorMsg{ErrorMsg: "no csrf token in headers"})
	noCookie  = plugins.Exit(401, plugins.ErrorMsg{ErrorMsg: "no csrf cookie"})
	different = plugins.Exit(401, plugins.ErrorMsg{ErrorMsg: "csrf token mismatch"})
	invalid   = plugins.Exit(401, plugins.ErrorMsg{ErrorMsg: "Failed to verify the csrf token signature"})
)

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	g := &guard{*c, env.Now, plugins.Variable("cookie_" + c.Name)}
	return plugins.Phases{Access: g.access, HeaderFilter: g.headerFilter}, nil
}

func (g *guard) access(c *plugins.Ctx) (*plugins.Reply, error) {
	switch c.Req.Method {
	case "GET", "HEAD", "OPTIONS":
		return nil, nil
	}
	field := c.Req.Header.Get(g.Name)
	if field == "" {
		return noField, nil
	}
	cookie, ok := g.cookie(c)
	if !ok {
		return noCookie, nil
	}
	if subtle.ConstantTimeCompare([]byte(field), []byte(cookie)) != 1 {
		return different, nil
	}
	if reason := g.verify(cookie); reason != "" {
		c.Log().Error(reason)
		return invalid, nil
	}
	return nil, nil
}

// forever is longer than any cookie is kept, in seconds: a hundred years.
const forever = 100 * 365 * 24 * 3600

// headerFilter hands out a new token.
func (g *guard) headerFilter(c *plugins.Ctx) error {
	now := g.now()
	var buf [maxToken]byte
	t := append(buf[:0], ownHead...)
	made := len(t)
	t = strconv.AppendInt(t, now.Unix(), 10)
	madeEnd := len(t)
	t = append(t, ownRandom...)
	random := len(t)
	t = appendRandom(t)
	randomEnd := len(t)
	t = append(t, ownSign...)
	t = g.appendSign(t, t[random:randomEnd], t[made:madeEnd])
	t = append(t, ownTail...)

	b := append(c.Scratch(), g.Name...)
	b = append(b, '=')
	b = base64.StdEncoding.AppendEncode(b, t)
	b = append(b, ";path=/;SameSite=Lax;Expires="...)
	b = appendCookieTime(b, now.Add(time.Duration(min(g.Expires, forever))*time.Second).UTC())
	c.Resp.Header.Add("Set-Cookie", c.Keep(b))
	return nil
}

// appendCookieTime is nginx's form of the date in a cookie.
func appendCookieTime(b []byte, t time.Time) []byte {
	if t.Year() > 2037 {
		return t.AppendFormat(b, "Mon, 02-Jan-2006 15:04:05 GMT")
	}
	return t.AppendFormat(b, "Mon, 02-Jan-06 15:04:05 GMT")
}
