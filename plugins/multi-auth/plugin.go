// Package multiauth lets a request in that any of several authenticating
// plugins lets in.
package multiauth

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

const own = "multi-auth"

// Plugin is multi-auth.
var Plugin = plugins.Spec{
	Name:     own,
	Priority: 2600,
	Version:  "0.1",
	Auth:     true,
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	AuthPlugins []map[string]json.RawMessage `json:"auth_plugins"`
}

// member is one of the plugins.
type member struct {
	name string
	plugins.Phases
}

type auth struct{ members []member }

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	a := &auth{}
	for _, group := range c.AuthPlugins {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			m, err := newMember(env, name, group[name])
			if err != nil {
				a.close()
				return plugins.Phases{}, err
			}
			a.members = append(a.members, m)
		}
	}
	return plugins.Phases{Rewrite: a.rewrite, Close: a.close}, nil
}

func newMember(env *plugins.Env, name string, conf json.RawMessage) (member, error) {
	spec, ok := env.Spec(name)
	switch {
	case !ok:
		return member{}, errors.New(name + " plugin did not found")
	case !spec.Auth || name == own: // in itself it could go on for ever
		return member{}, errors.New(name + " plugin is not supported")
	}
	if kind := kindOf(conf); kind != "object" {
		return member{}, fmt.Errorf("plugin %s check schema failed: wrong type: expected object, got %s", name, kind)
	}
	p, err := env.Build(name, conf)
	if err != nil {
		if why := errors.Unwrap(err); why != nil {
			err = why // without the name of the plugin, which is said once
		}
		return member{}, fmt.Errorf("plugin %s check schema failed: %w", name, err)
	}
	if p.Rewrite == nil {
		if p.Close != nil {
			p.Close()
		}
		return member{}, errors.New(name + " plugin is not supported")
	}
	return member{name, p}, nil
}

// kindOf is the type of a JSON value as Lua has it; an empty array may be an
// object that Lua wrote.
func kindOf(conf json.RawMessage) string {
	switch {
	case conf[0] == '{' || string(conf) == "[]":
		return "object"
	case conf[0] == '"':
		return "string"
	case conf[0] == 't' || conf[0] == 'f':
		return "boolean"
	case conf[0] == '[':
		return "table"
	case conf[0] == 'n':
		return "null"
	}
	return "number"
}

func (a *auth) close() {
	for i := range a.members {
		if stop := a.members[i].Close; stop != nil {
			stop()
		}
	}
}

// challenge is what those who refuse a request ask for; it goes when another
// lets the request in.
const challenge = "WWW-Authenticate"

func (a *auth) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	refused := make([]*plugins.Reply, 0, 4)
	for i := range a.members {
		rep, err := a.members[i].Rewrite(c)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", a.members[i].name, err)
		}
		if rep == nil {
			if len(refused) > 0 {
				c.RespHeader.Del(challenge)
			}
			return nil, nil
		}
		refused = append(refused, rep)
	}
	for i, rep := range refused {
		message, _ := rep.Body.(plugins.Message)
		c.Log().Info("client not authenticated", "plugin", a.members[i].name, "status", rep.Status, "err", message.Message)
	}
	return plugins.Exit(401, plugins.Message{Message: "Authorization Failed"}), nil
}
