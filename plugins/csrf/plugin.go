// Package csrf lets requests that change something through only when they
// repeat, in a field, the signed token of their cookie: another site can make a
// browser send the cookie, but cannot read it.
package csrf

import (
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
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

// token is what a cookie holds, in JSON and base64. The signature is over the
// numbers' texts.
type token struct {
	Random  json.Number `json:"random"`
	Expires json.Number `json:"expires"` // when it was made, seconds
	Sign    string      `json:"sign"`
}

// verify is why a token is not good, "" when it is.
func (g *guard) verify(text string) string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "csrf token base64 decode error"
	}
	var t token
	if err := json.Unmarshal(raw, &t); err != nil {
		return "decode token error"
	}
	if t.Random == "" {
		return "no random in token"
	}
	if t.Expires == "" {
		return "no expires in token"
	}
	made, err := t.Expires.Float64()
	if err != nil {
		return "no expires in token"
	}
	if g.Expires > 0 && float64(g.now().Unix())-made > float64(g.Expires) {
		return "token has expired"
	}
	random, err := t.Random.Float64()
	if err != nil {
		return "no random in token"
	}
	sign := g.sign(number(nil, random), number(nil, made))
	if subtle.ConstantTimeCompare([]byte(sign), []byte(t.Sign)) != 1 {
		return "Invalid signatures"
	}
	return ""
}

// number writes f as Lua does: with 14 digits.
func number(b []byte, f float64) []byte {
	if f == float64(int64(f)) && f > -1e14 && f < 1e14 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	s := strconv.FormatFloat(f, 'g', 14, 64)
	f, _ = strconv.ParseFloat(s, 64) // it was just written
	mode := byte('f')
	if f > -1e-4 && f < 1e-4 || f >= 1e14 || f <= -1e14 {
		mode = 'e'
	}
	return strconv.AppendFloat(b, f, mode, -1, 64)
}

func (g *guard) sign(random, made []byte) string {
	h := sha256.New()
	h.Write([]byte("{expires:"))
	h.Write(made)
	h.Write([]byte(",random:"))
	h.Write(random)
	h.Write([]byte(",key:"))
	h.Write([]byte(g.Key))
	h.Write([]byte("}"))
	return hex.EncodeToString(h.Sum(nil))
}

// headerFilter hands out a new token.
func (g *guard) headerFilter(c *plugins.Ctx) error {
	now := g.now()
	random := number(nil, float64(1+rand.Int64N(1e14-1))/1e14)
	made := strconv.AppendInt(nil, now.Unix(), 10)
	t := append([]byte(`{"expires":`), made...)
	t = append(t, `,"random":`...)
	t = append(t, random...)
	t = append(t, `,"sign":"`...)
	t = append(t, g.sign(random, made)...)
	t = append(t, `"}`...)

	b := append(c.Scratch(), g.Name...)
	b = append(b, '=')
	b = base64.StdEncoding.AppendEncode(b, t)
	b = append(b, ";path=/;SameSite=Lax;Expires="...)
	b = appendCookieTime(b, now.Add(time.Duration(g.Expires)*time.Second).UTC())
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
