// Package attachconsumerlabel tells the upstream labels of the consumer in header fields.
package attachconsumerlabel

import (
	_ "embed"
	"maps"
	"slices"
	"strings"

	"sluice/plugins"
	"sluice/plugins/internal/consumer"
)

//go:embed schema.json
var schema string

// Plugin is attach-consumer-label.
var Plugin = plugins.Spec{
	Name:     "attach-consumer-label",
	Priority: 2399,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Headers map[string]string `json:"headers"`
}

type field struct{ name, label string }

type labels []field

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	var l labels
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		l = append(l, field{name, strings.TrimPrefix(c.Headers[name], "$")})
	}
	return plugins.Phases{BeforeProxy: l.beforeProxy}, nil
}

// beforeProxy speaks in every field, if only to silence the client.
func (l labels) beforeProxy(c *plugins.Ctx) (*plugins.Reply, error) {
	h := &c.Req.Header
	for _, f := range l {
		value := ""
		if c.Consumer != nil {
			value = c.Consumer.Def.Labels[f.label]
		}
		if value == "" {
			consumer.Drop(h, f.name)
		} else {
			consumer.Replace(h, f.name, value)
		}
	}
	return nil, nil
}
