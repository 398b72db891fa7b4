// Package iprestriction lets a request through, or not, by its client address.
package iprestriction

import (
	_ "embed"

	"sluice/plugins"
	"sluice/plugins/internal/ipset"
)

//go:embed schema.json
var schema string

// Plugin is ip-restriction.
var Plugin = plugins.Spec{
	Name:     "ip-restriction",
	Priority: 3000,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Whitelist    []string `json:"whitelist"`
	Blacklist    []string `json:"blacklist"`
	Message      string   `json:"message"`
	ResponseCode int      `json:"response_code"`
}

type restriction struct {
	allow, deny *ipset.Set
	blocked     *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	allow, err := ipset.Parse(c.Whitelist)
	if err != nil {
		return plugins.Phases{}, err
	}
	deny, err := ipset.Parse(c.Blacklist)
	if err != nil {
		return plugins.Phases{}, err
	}
	r := &restriction{allow, deny, plugins.Exit(c.ResponseCode, plugins.Message{Message: c.Message})}
	return plugins.Phases{Access: r.judge, Preread: r.judge}, nil
}

// judge serves requests and stream sessions alike.
func (r *restriction) judge(c *plugins.Ctx) (*plugins.Reply, error) {
	if r.deny.Has(c.Addr) || r.allow != nil && !r.allow.Has(c.Addr) {
		reply := *r.blocked
		return &reply, nil
	}
	return nil, nil
}
