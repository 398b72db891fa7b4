// Package exittransformer lets Lua of the configuration change the responses
// that plugins and the gateway make.
package exittransformer

import (
	_ "embed"

	"sluice/gateway/lua"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is exit-transformer.
var Plugin = plugins.Spec{
	Name:     "exit-transformer",
	Priority: 22950,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Functions []string `json:"functions"`
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	host, release := lua.Open(env)
	t, err := host.Transformer(c.Functions)
	if err != nil {
		release()
		return plugins.Phases{}, err
	}
	rewrite := func(c *plugins.Ctx) (*plugins.Reply, error) {
		c.OnExit(t.Apply)
		return nil, nil
	}
	return plugins.Phases{Rewrite: rewrite, Close: func() { t.Close(); release() }}, nil
}
