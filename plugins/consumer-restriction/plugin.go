// Package consumerrestriction lets a request through, or not, by its consumer,
// consumer group, service or route.
package consumerrestriction

import (
	_ "embed"
	"slices"

	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is consumer-restriction.
var Plugin = plugins.Spec{
	Name:     "consumer-restriction",
	Priority: 2400,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	Type             string   `json:"type"`
	Blacklist        []string `json:"blacklist"`
	Whitelist        []string `json:"whitelist"`
	AllowedByMethods []struct {
		User    string   `json:"user"`
		Methods []string `json:"methods"`
	} `json:"allowed_by_methods"`
	RejectedCode int     `json:"rejected_code"`
	RejectedMsg  *string `json:"rejected_msg"`
}

type restriction struct {
	value       plugins.Getter
	deny, allow map[string]bool
	methods     map[string][]string // by user
	unknown     *plugins.Reply      // for requests without the value
	rejected    *plugins.Reply
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	message := "The " + c.Type + " is forbidden."
	if c.RejectedMsg != nil {
		message = *c.RejectedMsg
	}
	r := &restriction{
		value: plugins.Variable(c.Type), // each type is a variable
		deny:  set(c.Blacklist), allow: set(c.Whitelist),
		methods: map[string][]string{},
		unknown: plugins.Exit(401, plugins.Message{
			Message: "The request is rejected, please check the " + c.Type + " for this request"}),
		rejected: plugins.Exit(c.RejectedCode, plugins.Message{Message: message}),
	}
	for _, by := range c.AllowedByMethods {
		if _, twice := r.methods[by.User]; !twice { // the first entry counts
			r.methods[by.User] = by.Methods
		}
	}
	return plugins.Phases{Access: r.access}, nil
}

func set(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

func (r *restriction) access(c *plugins.Ctx) (*plugins.Reply, error) {
	value, ok := r.value(c)
	if !ok {
		return r.unknown, nil
	}
	if !r.passes(value, c.Req.Method) {
		return r.rejected, nil
	}
	return nil, nil
}

// passes: the blacklist comes first; who is on the whitelist may use any
// method; who has no entry in allowed_by_methods, too.
func (r *restriction) passes(value, method string) bool {
	switch {
	case r.deny[value]:
		return false
	case len(r.allow) > 0:
		return r.allow[value]
	}
	methods, listed := r.methods[value]
	return !listed || slices.Contains(methods, method)
}
