package gateway

import (
	"strings"

	"sluice/balancer"
	"sluice/configcenter/resource"
	"sluice/plugins"
)

// hashing says what chash puts on the ring: nil for other algorithms.
type hashing func(*plugins.Ctx) (string, bool)

// hashOn compiles hash_on and key of an upstream. nil: the balancer needs no key.
func hashOn(def *resource.Upstream) (hashing, error) {
	if def.Type != "chash" {
		return nil, nil
	}
	switch def.HashOn {
	case "", "vars":
		return hashing(plugins.Variable(def.Key)), nil
	case "header":
		return hashing(plugins.Variable("http_" + strings.ReplaceAll(strings.ToLower(def.Key), "-", "_"))), nil
	case "cookie":
		return hashing(plugins.Variable("cookie_" + def.Key)), nil
	case "consumer":
		return hashing(plugins.Variable("consumer_name")), nil
	}
	t, err := plugins.ParseTemplate(def.Key)
	if err != nil {
		return nil, err
	}
	return func(c *plugins.Ctx) (string, bool) {
		s, resolved := t.RenderCount(c)
		return s, resolved > 0
	}, nil
}

// hashKey is the key of this request on the ring: what hash_on names, or the
// client's address when that has no value.
func (u *upstream) hashKey(w *walk) uint64 {
	if u.hash == nil {
		return 0
	}
	s, ok := u.hash(&w.Ctx)
	if !ok || s == "" {
		w.Log().Warn("chash key has no value, using the client's address", "upstream", u.key)
		s = w.Var("remote_addr")
	}
	return balancer.HashKey(s)
}
