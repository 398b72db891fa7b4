// Package requestid gives every request an id, toward the upstream and toward
// the client.
package requestid

import (
	_ "embed"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is request-id.
var Plugin = plugins.Spec{
	Name:     "request-id",
	Priority: 12015,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	HeaderName        string  `json:"header_name"`
	IncludeInResponse bool    `json:"include_in_response"`
	Algorithm         string  `json:"algorithm"`
	RangeID           rangeID `json:"range_id"`
}

type rangeID struct {
	Length  int    `json:"length"`
	CharSet string `json:"char_set"`
}

type naming struct {
	config
	generate func(dst []byte) []byte
	key      any // a given, made once
}

// given is where the id is kept that goes into the field of that name.
type given struct{ field string }

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	n := &naming{*c, generator(c), given{c.HeaderName}}
	p := plugins.Phases{Rewrite: n.rewrite}
	if c.IncludeInResponse {
		p.HeaderFilter = n.headerFilter
	}
	return p, nil
}

func (n *naming) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	id := c.Req.Header.Get(n.HeaderName)
	if id == "" {
		id = c.Keep(n.generate(c.Scratch()))
		c.Req.Header.Set(n.HeaderName, id)
	}
	c.RequestID = id
	if n.IncludeInResponse {
		c.SetValue(n.key, id)
	}
	return nil, nil
}

// headerFilter leaves an id alone that the upstream has put there.
func (n *naming) headerFilter(c *plugins.Ctx) error {
	if c.Resp.Header.Get(n.HeaderName) != "" {
		return nil
	}
	if id, ok := c.Value(n.key).(string); ok {
		c.Resp.Header.Set(n.HeaderName, id)
	}
	return nil
}
