// Package limitcount limits how many requests a key may make in a window of time.
package limitcount

import (
	_ "embed"

	"sluice/plugins"
	"sluice/plugins/internal/counter"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

const name = "limit-count"

// Plugin is limit-count.
var Plugin = plugins.Spec{
	Name:     name,
	Priority: 1002,
	Version:  "0.5",
	Schema:   schema,
	Metadata: metadataSchema,
	New:      plugins.Build(build),
}

type config struct {
	counter.Options
}

type limit struct {
	quota *counter.Limiter
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	headers := counter.Headers{
		Limit: "X-RateLimit-Limit", Remaining: "X-RateLimit-Remaining", Reset: "X-RateLimit-Reset",
	}
	if err := plugins.Decode(env.Metadata, &headers); err != nil {
		return plugins.Phases{}, err
	}
	quota, release, err := counter.NewLimiter(&c.Options, env, name, headers)
	if err != nil {
		return plugins.Phases{}, err
	}
	l := &limit{quota}
	return plugins.Phases{Access: l.access, Close: release}, nil
}

func (l *limit) access(c *plugins.Ctx) (*plugins.Reply, error) {
	return l.quota.Take(c, 1)
}
