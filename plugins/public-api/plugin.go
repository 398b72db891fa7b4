// Package publicapi makes the APIs that plugins offer reachable through a route.
package publicapi

import (
	_ "embed"
	"slices"
	"strings"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is public-api.
var Plugin = plugins.Spec{
	Name:     "public-api",
	Priority: 501,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	URI string `json:"uri"`
}

type public struct {
	config
	apis func() []plugins.API
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	p := &public{*c, env.APIs}
	return plugins.Phases{Access: p.access}, nil
}

func (p *public) access(c *plugins.Ctx) (*plugins.Reply, error) {
	path := p.URI
	if path == "" {
		path = c.Path
	}
	for _, a := range p.apis() {
		if matches(a.Path, path) && (len(a.Methods) == 0 || slices.Contains(a.Methods, c.Req.Method)) {
			c.Leave() // nobody knows what an API waits for
			return a.Serve(c)
		}
	}
	return plugins.Exit(404, nil), nil
}

// matches compares with an API's path, which may end in "*".
func matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return path == pattern
}
