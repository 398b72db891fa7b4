// Package jwtauth finds the consumer by a JSON Web Token that the consumer's key signed.
package jwtauth

import (
	_ "embed"
	"strings"
	"time"

	strictjson "sluice/configcenter/schema"
	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

//go:embed schema.json
var schema string

//go:embed consumer.json
var consumerSchema string

const name = "jwt-auth"

// Plugin is jwt-auth.
var Plugin = plugins.Spec{
	Name:        name,
	Priority:    2510,
	Version:     "0.1",
	Auth:        true,
	Schema:      schema,
	Consumer:    consumerSchema,
	ConsumerKey: "key",
	NewConsumer: newConsumer,
	New:         plugins.Build(build),
}

type config struct {
	Header            string   `json:"header"`
	Query             string   `json:"query"`
	Cookie            string   `json:"cookie"`
	HideCredentials   bool     `json:"hide_credentials"`
	KeyClaimName      string   `json:"key_claim_name"`
	StoreInCtx        bool     `json:"store_in_ctx"`
	Realm             string   `json:"realm"`
	AnonymousConsumer string   `json:"anonymous_consumer"`
	ClaimsToVerify    []string `json:"claims_to_verify"`
}

// payload is where the claims are on a request: ctx.jwt_auth_payload in Lua.
const payload = plugins.Field("jwt_auth_payload")

type auth struct {
	config
	consumer.Auth
	now  func() time.Time
	seen headers
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	a := &auth{config: *c, now: env.Now, Auth: consumer.Auth{
		Plugin:    name,
		Challenge: consumer.Challenge("Bearer", c.Realm),
		Anonymous: c.AnonymousConsumer,
	}}
	return plugins.Phases{Rewrite: a.rewrite}, nil
}

func (a *auth) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	text, from := a.token(c)
	found, rep := a.find(c, text, from)
	if rep != nil {
		return rep, nil
	}
	if a.HideCredentials {
		a.hide(c, from)
	}
	if found != nil { // else the anonymous consumer is attached
		consumer.Attach(c, found)
	}
	return nil, nil
}

// find returns the consumer, or what to answer; neither when the anonymous
// consumer took over.
func (a *auth) find(c *plugins.Ctx, text string, from source) (*plugins.Consumer, *plugins.Reply) {
	if from == nowhere {
		return nil, a.Fail(c, "Missing JWT token in request")
	}
	t, err := a.seen.parse(text, c.Scratch())
	if err != nil {
		return nil, a.Refuse(c, "JWT token invalid", "JWT token invalid: "+err.Error())
	}
	if !a.StoreInCtx {
		defer strictjson.Recycle(t.claims)
	}
	key, has := t.claims[a.KeyClaimName]
	if !has || key == false {
		return nil, a.Fail(c, "missing user key in JWT token")
	}
	id, ok := key.(string)
	var found *plugins.Consumer
	if ok {
		found = c.Find().FindConsumer(name, id)
	}
	if found == nil {
		return nil, a.Refuse(c, "Invalid user key in JWT token", "failed to find consumer: invalid user key")
	}
	own := found.Conf.(*credential)
	err = own.verify(&t, c.Scratch())
	if err == nil {
		err = t.inTime(a.ClaimsToVerify, a.now().Unix(), own.grace)
	}
	if err != nil {
		return nil, a.Refuse(c, "failed to verify jwt", "failed to verify jwt: "+err.Error())
	}
	if a.StoreInCtx {
		c.SetValue(payload, t.claims)
	}
	return found, nil
}

// source is where a request has its token.
type source uint8

const (
	nowhere source = iota
	inHeader
	inQuery
	inCookie
)

func (a *auth) token(c *plugins.Ctx) (string, source) {
	if text, ok := c.Req.Header.Lookup(a.Header); ok {
		if len(text) > 7 && (strings.HasPrefix(text, "Bearer ") || strings.HasPrefix(text, "bearer ")) {
			text = text[7:]
		}
		return text, inHeader
	}
	if text, ok := c.Arg(a.Query); ok {
		return text, inQuery
	}
	if text, ok := c.Cookie(a.Cookie); ok {
		return text, inCookie
	}
	return "", nowhere
}

func (a *auth) hide(c *plugins.Ctx, from source) {
	switch from {
	case inHeader:
		c.Req.Header.Del(a.Header)
	case inQuery:
		consumer.HideArg(c, a.Query)
	case inCookie:
		consumer.HideCookie(c, a.Cookie)
	}
}
