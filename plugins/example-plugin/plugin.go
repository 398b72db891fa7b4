// Package exampleplugin is the plugin to read first: a schema, metadata, and an
// upstream chosen at build time.
package exampleplugin

import (
	_ "embed"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadata string

// Plugin is example-plugin.
var Plugin = plugins.Spec{
	Name:     "example-plugin",
	Priority: 0,
	Version:  "0.1",
	Schema:   schema,
	Metadata: metadata,
	New:      plugins.Build(build),
}

type config struct {
	I    float64 `json:"i"`
	S    string  `json:"s"`
	T    []any   `json:"t"`
	IP   string  `json:"ip"`
	Port int     `json:"port"`
}

type example struct{ to plugins.Upstream }

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	if c.IP == "" {
		return plugins.Phases{}, nil
	}
	to, err := env.Upstream("", &resource.Upstream{
		Type: "roundrobin", Nodes: resource.Nodes{{Host: c.IP, Port: c.Port, Weight: 1}}})
	if err != nil {
		return plugins.Phases{}, err
	}
	e := &example{to}
	return plugins.Phases{Access: e.access}, nil
}

func (e *example) access(c *plugins.Ctx) (*plugins.Reply, error) {
	c.SetUpstream(e.to)
	return nil, nil
}
