// Package grpcweb does what its README says.
package grpcweb

import (
	_ "embed"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is grpc-web.
var Plugin = plugins.Spec{
	Name:     "grpc-web",
	Priority: 505,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Message string `json:"message"`
}

type instance struct {
	config
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	i := &instance{*c}
	return plugins.Phases{Access: i.access}, nil
}

func (i *instance) access(c *plugins.Ctx) (*plugins.Reply, error) {
	if i.Message != "" {
		c.RespHeader.Set("X-Message", i.Message)
	}
	return nil, nil
}
