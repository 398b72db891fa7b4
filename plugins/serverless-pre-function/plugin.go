// Package serverlessprefunction runs Lua functions of the configuration before the
// other plugins of a phase.
package serverlessprefunction

import (
	_ "embed"
	"encoding/json"

	"sluice/gateway/lua"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is serverless-pre-function.
var Plugin = plugins.Spec{
	Name:     "serverless-pre-function",
	Priority: 10000,
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
