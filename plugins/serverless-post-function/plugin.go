// Package serverlesspostfunction runs Lua functions of the configuration after the
// other plugins of a phase.
package serverlesspostfunction

import (
	_ "embed"
	"encoding/json"

	"sluice/gateway/lua"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is serverless-post-function.
var Plugin = plugins.Spec{
	Name:     "serverless-post-function",
	Priority: -2000,
	Version:  "0.1",
	Schema:   schema,
	New:      build,
}

type config struct {
	Phase     string   `json:"phase"`
	Functions []string `json:"functions"`
}

func build(conf json.RawMessage, env *plugins.Env) (plugins.Phases, error) {
	var c config
	if err := plugins.Decode(conf, &c); err != nil {
		return plugins.Phases{}, err
	}
	return lua.Serverless(env, c.Phase, c.Functions, conf)
}
