// Package basicauth finds the consumer by a name and a password in Authorization.
package basicauth

import (
	_ "embed"
	"encoding/json"
	"strings"
	"unsafe"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

//go:embed schema.json
var schema string

//go:embed consumer.json
var consumerSchema string

const name = "basic-auth"

// Plugin is basic-auth.
var Plugin = plugins.Spec{
	Name:        name,
	Priority:    2520,
	Version:     "0.1",
	Auth:        true,
	Schema:      schema,
	Consumer:    consumerSchema,
	ConsumerKey: "username",
	NewConsumer: newConsumer,
	New:         plugins.Build(build),
}

type config struct {
	HideCredentials   bool   `json:"hide_credentials"`
	Realm             string `json:"realm"`
	AnonymousConsumer string `json:"anonymous_consumer"`
}

type auth struct {
	config
	consumer.Auth
}

// newConsumer keeps no more of the password than is needed to know it again.
func newConsumer(conf json.RawMessage) (any, error) {
	var c struct {
		Password string `json:"password"`
	}
	if err := plugins.Decode(conf, &c); err != nil {
		return nil, err
	}
	s := consumer.NewSecret(c.Password)
	return &s, nil
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	a := &auth{*c, consumer.Auth{
		Plugin:    name,
		Challenge: consumer.Challenge("Basic", c.Realm),
		Anonymous: c.AnonymousConsumer,
	}}
	return plugins.Phases{Rewrite: a.rewrite}, nil
}

func (a *auth) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	found, rep := a.find(c)
	if rep != nil {
		return rep, nil
	}
	if a.HideCredentials {
		c.Req.Header.Del("Authorization")
	}
	if found != nil { // else the anonymous consumer is attached
		consumer.Attach(c, found)
	}
	return nil, nil
}

// find returns the consumer, or what to answer; neither when the anonymous
// consumer took over.
func (a *auth) find(c *plugins.Ctx) (*plugins.Consumer, *plugins.Reply) {
	const invalid = "Invalid authorization in request"
	header, ok := c.Req.Header.Lookup("Authorization")
	if !ok {
		return nil, a.Fail(c, "Missing authorization in request")
	}
	encoded, ok := credentials(header)
	if !ok {
		return nil, a.Refuse(c, invalid, "Invalid authorization header format")
	}
	decoded, ok := consumer.DecodeBase64(encoded)
	if !ok {
		return nil, a.Refuse(c, invalid, "Failed to decode authentication header")
	}
	user, password, _ := strings.Cut(unsafe.String(unsafe.SliceData(decoded), len(decoded)), ":")
	if password == "" {
		return nil, a.Refuse(c, invalid, "Split authorization err: invalid decoded data")
	}
	found, ok := check(c.Find(), user, password)
	if !ok {
		return nil, a.Refuse(c, "Invalid user authorization", "no user of that name and password")
	}
	return found, nil
}

// nobody stands in for the secret of a user who does not exist, so that the
// time of an answer does not tell who does.
var nobody = consumer.NewSecret("")

// check finds the consumer of a name and a password. Both are taken as they
// are or, as clients send stray line breaks, without white space.
func check(f plugins.Finder, user, password string) (*plugins.Consumer, bool) {
	found := f.FindConsumer(name, user)
	if found == nil {
		if bare := withoutSpace(user); len(bare) != len(user) {
			found = f.FindConsumer(name, bare)
		}
	}
	secret := &nobody
	if found != nil {
		secret = found.Conf.(*consumer.Secret)
	}
	ok := secret.Is(password)
	if bare := withoutSpace(password); len(bare) != len(password) {
		ok = secret.Is(bare) || ok
	}
	return found, ok && found != nil
}

// credentials is what follows "Basic" and white space.
func credentials(header string) (string, bool) {
	const scheme = "basic"
	if len(header) < len(scheme)+2 || !strings.EqualFold(header[:len(scheme)], scheme) || !isSpace(rune(header[len(scheme)])) {
		return "", false
	}
	return header[len(scheme)+1:], true
}

func withoutSpace(s string) string {
	if strings.IndexFunc(s, isSpace) < 0 {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, isSpace), "")
}

func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }
