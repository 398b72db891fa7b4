// Package uriblocker refuses requests whose URI matches one of its rules.
package uriblocker

import (
	_ "embed"

	"sluice/plugins"
	"sluice/plugins/internal/patterns"
)

//go:embed schema.json
var schema string

// Plugin is uri-blocker.
var Plugin = plugins.Spec{
	Name:     "uri-blocker",
	Priority: 2900,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	BlockRules      []string `json:"block_rules"`
	RejectedCode    int      `json:"rejected_code"`
	RejectedMsg     string   `json:"rejected_msg"`
	CaseInsensitive bool     `json:"case_insensitive"`
}

type blocker struct {
	rules patterns.List
	uri   plugins.Getter
	reply *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	flags := ""
	if c.CaseInsensitive {
		flags = "i"
	}
	rules, err := patterns.Compile(c.BlockRules, flags)
	if err != nil {
		return plugins.Phases{}, err
	}
	b := &blocker{rules, plugins.Variable("request_uri"), plugins.Reject(c.RejectedCode, c.RejectedMsg)}
	return plugins.Phases{Rewrite: b.rewrite}, nil
}

// rewrite holds the rules against path and query as the router reads them, so
// that neither a way around in the path nor an escape gets past a rule.
func (b *blocker) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if uri, _ := b.uri(c); b.rules.Match(uri) {
		return b.reply, nil
	}
	return nil, nil
}
