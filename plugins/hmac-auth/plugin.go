// Package hmacauth finds the consumer by a signature of the request that the
// consumer's secret key made.
package hmacauth

import (
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

//go:embed schema.json
var schema string

//go:embed consumer.json
var consumerSchema string

const name = "hmac-auth"

// Plugin is hmac-auth.
var Plugin = plugins.Spec{
	Name:        name,
	Priority:    2530,
	Version:     "0.1",
	Auth:        true,
	Schema:      schema,
	Consumer:    consumerSchema,
	ConsumerKey: "key_id",
	NewConsumer: newConsumer,
	New:         plugins.Build(build),
}

type config struct {
	AllowedAlgorithms   []string `json:"allowed_algorithms"`
	ClockSkew           int64    `json:"clock_skew"`
	SignedHeaders       []string `json:"signed_headers"`
	ValidateRequestBody bool     `json:"validate_request_body"`
	MaxReqBodySize      int64    `json:"max_req_body_size"`
	HideCredentials     bool     `json:"hide_credentials"`
	Realm               string   `json:"realm"`
	AnonymousConsumer   string   `json:"anonymous_consumer"`
}

type auth struct {
	config
	consumer.Auth
	allowed map[string]bool
	target  plugins.Getter // of the request, as signed
	now     func() time.Time
}

// newConsumer readies a secret key for every algorithm.
func newConsumer(conf json.RawMessage) (any, error) {
	var c struct {
		SecretKey string `json:"secret_key"`
	}
	if err := plugins.Decode(conf, &c); err != nil {
		return nil, err
	}
	if c.SecretKey == "" { // of a secret: the schema has been asked before
		return nil, errors.New(`property "secret_key" is empty`)
	}
	macs := make(map[string]*consumer.MAC, len(algorithms))
	for name, h := range algorithms {
		macs[name] = consumer.NewMAC(h, []byte(c.SecretKey))
	}
	return macs, nil
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	a := &auth{*c, consumer.Auth{
		Plugin:    name,
		Challenge: consumer.Challenge("hmac", c.Realm),
		Anonymous: c.AnonymousConsumer,
	}, map[string]bool{}, plugins.Variable("request_uri"), env.Now}
	for _, algorithm := range c.AllowedAlgorithms {
		a.allowed[algorithm] = true
	}
	return plugins.Phases{Rewrite: a.rewrite}, nil
}

func (a *auth) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	found, rep, err := a.find(c)
	if rep != nil || err != nil {
		return rep, err
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
func (a *auth) find(c *plugins.Ctx) (*plugins.Consumer, *plugins.Reply, error) {
	const refused = "client request can't be validated"
	header, ok := c.Req.Header.Lookup("Authorization")
	if !ok {
		return nil, a.Fail(c, refused+": missing Authorization header"), nil
	}
	fields, ok := strings.CutPrefix(header, "Signature")
	if !ok {
		return nil, a.Fail(c, refused+": Authorization header does not start with 'Signature'"), nil
	}
	s := parse(fields)
	found, err := a.check(c, &s)
	if err != nil {
		return nil, a.Refuse(c, refused, err.Error()), nil
	}
	if !a.ValidateRequestBody {
		return found, nil, nil
	}
	body, err := c.Body(a.MaxReqBodySize)
	if tooLarge := (*plugins.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
		return nil, plugins.Exit(413, plugins.Message{Message: tooLarge.Error()}), nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !isDigest(c.Req.Header.Get("Digest"), body) {
		return nil, a.Refuse(c, refused, "Invalid digest"), nil
	}
	return found, nil, nil
}

// check finds the consumer that made the signature, for this request and at
// this time.
func (a *auth) check(c *plugins.Ctx, s *signature) (*plugins.Consumer, error) {
	switch {
	case s.keyID == "" || s.sum == "":
		return nil, errors.New("keyId or signature missing")
	case s.algorithm == "":
		return nil, errors.New("algorithm missing")
	}
	found := c.Find().FindConsumer(name, s.keyID)
	if found == nil {
		return nil, errors.New("Invalid key_id")
	}
	if !a.allowed[s.algorithm] {
		return nil, errors.New("Invalid algorithm")
	}
	if err := a.inTime(c.Req.Header.Get("Date")); err != nil {
		return nil, err
	}
	for _, h := range a.SignedHeaders {
		if !s.covers(h) {
			return nil, errors.New(`expected header "` + h + `" missing in signing`)
		}
	}
	text, err := a.signed(c, s)
	if err != nil {
		return nil, err
	}
	sum, ok := consumer.DecodeBase64(s.sum)
	if !ok || !found.Conf.(map[string]*consumer.MAC)[s.algorithm].Verify(text, sum) {
		return nil, errors.New("Invalid signature")
	}
	return found, nil
}
