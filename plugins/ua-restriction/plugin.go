// Package uarestriction lets a request through, or not, by its User-Agent.
package uarestriction

import (
	_ "embed"
	"strings"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/internal/patterns"
)

//go:embed schema.json
var schema string

// Plugin is ua-restriction.
var Plugin = plugins.Spec{
	Name:     "ua-restriction",
	Priority: 2999,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	BypassMissing bool     `json:"bypass_missing"`
	Allowlist     []string `json:"allowlist"`
	Denylist      []string `json:"denylist"`
	Message       string   `json:"message"`
}

type restriction struct {
	config
	list  patterns.List
	allow bool // list is of those who may
	reply *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	r := &restriction{config: *c, allow: c.Allowlist != nil, reply: plugins.Exit(403, plugins.Message{Message: c.Message})}
	from := c.Denylist
	if r.allow {
		from = c.Allowlist
	}
	var err error
	if r.list, err = patterns.Compile(from, ""); err != nil {
		return plugins.Phases{}, err
	}
	return plugins.Phases{Access: r.access}, nil
}

func (r *restriction) access(c *plugins.Ctx) (*plugins.Reply, error) {
	found, matched := r.look(&c.Req.Header)
	passed := matched == r.allow
	if !found {
		passed = r.BypassMissing
	}
	if !passed {
		return r.reply, nil
	}
	return nil, nil
}

// look says whether there is a User-Agent, and whether any of them is on the list.
func (r *restriction) look(h *wire.Header) (found, matched bool) {
	for i := range h.Len() {
		f := h.At(i)
		if !wire.EqualFold(f.Name, "User-Agent") {
			continue
		}
		found = true
		if r.list.Match(strings.TrimSpace(f.Value)) {
			return true, true
		}
	}
	return found, false
}
