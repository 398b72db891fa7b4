// Package keyauth finds the consumer by a key in a header field or a query argument.
package keyauth

import (
	_ "embed"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

//go:embed schema.json
var schema string

//go:embed consumer.json
var consumerSchema string

const name = "key-auth"

// Plugin is key-auth.
var Plugin = plugins.Spec{
	Name:        name,
	Priority:    2500,
	Version:     "0.1",
	Auth:        true,
	Schema:      schema,
	Consumer:    consumerSchema,
	ConsumerKey: "key",
	New:         plugins.Build(build),
}

type config struct {
	Header            string `json:"header"`
	Query             string `json:"query"`
	Realm             string `json:"realm"`
	HideCredentials   bool   `json:"hide_credentials"`
	AnonymousConsumer string `json:"anonymous_consumer"`
}

type auth struct {
	config
	consumer.Auth
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	a := &auth{*c, consumer.Auth{
		Plugin:    name,
		Challenge: consumer.Challenge("apikey", c.Realm),
		Anonymous: c.AnonymousConsumer,
	}}
	return plugins.Phases{Rewrite: a.rewrite}, nil
}

func (a *auth) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	key, inHeader := c.Req.Header.Lookup(a.Header)
	ok := inHeader
	if !ok {
		key, ok = c.Arg(a.Query)
	}
	if !ok {
		return a.fail(c, "Missing API key in request"), nil
	}
	found := c.Find().FindConsumer(name, key)
	if found == nil || key == "" { // a key may be a secret that holds nothing
		return a.fail(c, "Invalid API key in request"), nil
	}
	if a.HideCredentials {
		a.hide(c, inHeader)
	}
	consumer.Attach(c, found)
	return nil, nil
}

// fail drops what was not accepted before an anonymous consumer takes over: an
// upstream must not see a wrong key either.
func (a *auth) fail(c *plugins.Ctx, message string) *plugins.Reply {
	if a.HideCredentials && a.Anonymous != "" {
		a.hide(c, true)
		a.hide(c, false)
	}
	return a.Fail(c, message)
}

func (a *auth) hide(c *plugins.Ctx, header bool) {
	if header {
		c.Req.Header.Del(a.Header)
		return
	}
	consumer.HideArg(c, a.Query)
}
