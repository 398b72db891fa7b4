// Package trafficsplit divides the requests of a route among upstreams, by
// conditions and weights.
package trafficsplit

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/router/expr"
)

//go:embed schema.json
var schema string

// Plugin is traffic-split.
var Plugin = plugins.Spec{
	Name:     "traffic-split",
	Priority: 966,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Rules []rule `json:"rules"`
}

type rule struct {
	Match    []match   `json:"match"`
	Weighted []portion `json:"weighted_upstreams"`
}

type match struct {
	Vars json.RawMessage `json:"vars"`
}

type portion struct {
	UpstreamID resource.ID        `json:"upstream_id"`
	Upstream   *resource.Upstream `json:"upstream"`
	Weight     uint64             `json:"weight"`
}

type splitter struct {
	rules []compiled
	// bare are the upstreams written here whose nodes' names go upstream without
	// their ports: those that pass the node's name on and do not say https.
	bare map[plugins.Upstream]bool
}

type compiled struct {
	always    bool
	any       []*expr.Program[*plugins.Ctx]
	rotation  *rotation
	upstreams []plugins.Upstream // nil: the route's own
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	if len(c.Rules) == 0 {
		return plugins.Phases{}, nil
	}
	s := &splitter{rules: make([]compiled, len(c.Rules))}
	for i := range c.Rules {
		if err := s.compile(&s.rules[i], &c.Rules[i], env); err != nil {
			return plugins.Phases{}, err
		}
	}
	p := plugins.Phases{Access: s.access}
	if s.bare != nil {
		p.BeforeProxy = s.beforeProxy
	}
	return p, nil
}

func (s *splitter) compile(r *compiled, from *rule, env *plugins.Env) error {
	r.always = from.Match == nil
	for _, m := range from.Match {
		text := m.Vars
		if text == nil {
			text = json.RawMessage("[]")
		}
		p, err := expr.Compile(text, plugins.ExprValue)
		if err != nil {
			return fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
		r.any = append(r.any, p)
	}
	var weights []uint64
	for _, p := range merged(from.Weighted) {
		var u plugins.Upstream
		var err error
		switch {
		case p.UpstreamID != "":
			u, err = env.Upstream(string(p.UpstreamID), nil)
		case p.Upstream != nil:
			u, err = env.Upstream("", p.Upstream)
		}
		if err != nil {
			return err
		}
		if up := p.Upstream; p.UpstreamID == "" && up != nil && up.PassHost == "node" && up.Scheme != "https" {
			if s.bare == nil {
				s.bare = map[plugins.Upstream]bool{}
			}
			s.bare[u] = true
		}
		r.upstreams = append(r.upstreams, u)
		weights = append(weights, p.Weight)
	}
	r.rotation = newRotation(weights)
	return nil
}

// merged leaves one portion for each upstream object, and one for the route's
// own upstream: the last weight counts.
func merged(list []portion) []portion {
	var out []portion
	at := map[resource.ID]int{}
	for _, p := range list {
		if p.UpstreamID == "" && p.Upstream != nil {
			out = append(out, p)
			continue
		}
		if i, ok := at[p.UpstreamID]; ok {
			out[i] = p
			continue
		}
		at[p.UpstreamID] = len(out)
		out = append(out, p)
	}
	return out
}

func (s *splitter) access(c *plugins.Ctx) (*plugins.Reply, error) {
	for i := range s.rules {
		r := &s.rules[i]
		if !r.matches(c) {
			continue
		}
		if len(r.upstreams) > 0 {
			if u := r.upstreams[r.rotation.next()]; u != nil {
				c.SetUpstream(u)
				if s.bare[u] && c.UpstreamHost == "" {
					c.SetValue(s, true)
				}
			}
		}
		return nil, nil
	}
	return nil, nil
}

// beforeProxy names the node that is tried, without its port.
func (s *splitter) beforeProxy(c *plugins.Ctx) (*plugins.Reply, error) {
	if n := len(c.Tries); n > 0 && c.Value(s) != nil {
		c.UpstreamHost = c.Tries[n-1].Host
		if strings.Contains(c.UpstreamHost, ":") {
			c.UpstreamHost = "[" + c.UpstreamHost + "]"
		}
	}
	return nil, nil
}

func (r *compiled) matches(c *plugins.Ctx) bool {
	for _, p := range r.any {
		if p.Eval(c) {
			return true
		}
	}
	return r.always
}
