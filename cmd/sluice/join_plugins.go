package main

import (
	"encoding/json"
	"net/http"
	"slices"

	"sluice/configcenter/resource"
	"sluice/gateway/redact"
	"sluice/gateway/tally"
	"sluice/plugins"
)

// pluginCount is one plugin in one phase in the answer of
// GET /v1/sluice/plugins on the control API.
type pluginCount struct {
	Plugin  string        `json:"plugin"`
	Phase   string        `json:"phase"`
	Runs    int64         `json:"runs"`    // estimated from a sample
	Seconds float64       `json:"seconds"` // in all runs; estimated
	Mean    float64       `json:"mean_us"`
	Replies int64         `json:"replies"`
	Errors  int64         `json:"errors"`
	Panics  int64         `json:"panics"`
	Buckets []pluginTimes `json:"buckets"` // those that are not empty
}

// pluginTimes are the runs that took up to UpTo seconds, and longer than those
// of the bucket before; without UpTo, those beyond all buckets.
type pluginTimes struct {
	UpTo float64 `json:"up_to,omitempty"`
	Runs int64   `json:"runs"`
}

func (p *parts) pluginCounts() []pluginCount {
	list := []pluginCount{}
	bounds := append(tally.Bounds(), 0)
	for _, r := range p.gateway.PluginCounts() {
		c := pluginCount{Plugin: r.Plugin, Phase: r.Phase.String(), Runs: r.Runs(), Seconds: r.Seconds,
			Replies: r.Replies, Errors: r.Errors, Panics: r.Panics, Buckets: []pluginTimes{}}
		if c.Runs > 0 {
			c.Mean = r.Seconds / float64(c.Runs) * 1e6
		}
		for i, n := range r.Buckets {
			if n > 0 {
				c.Buckets = append(c.Buckets, pluginTimes{bounds[i], n})
			}
		}
		list = append(list, c)
	}
	return list
}

// inside are secrets that no plugin's schema names: they belong to what lies in
// its configuration.
var inside = []string{"tls.client_key", "upstream.tls.client_key",
	"plugins.traffic-split.rules.weighted_upstreams.upstream.tls.client_key",
	"plugins.workflow.rules.actions.redis_password", "plugins.workflow.rules.actions.sentinel_password"}

// masked is an object as the control API shows it to everybody who can reach
// it: without what its plugins' schemas want encrypted, and without keys.
func (p *parts) masked(k resource.Kind, id string, raw json.RawMessage) json.RawMessage {
	paths := slices.Clone(inside)
	fields := func(name string, part plugins.Part, prefix string) {
		if s := p.catalog.Schema(name, part); s != nil {
			for _, f := range s.EncryptFields() {
				paths = append(paths, prefix+f)
			}
		}
	}
	if k == resource.PluginMetadata {
		fields(id, plugins.MetadataPart, "")
	} else {
		for _, name := range p.catalog.Names() {
			fields(name, plugins.Conf, "plugins."+name+".")
		}
	}
	return redact.Masked(raw, paths)
}

// withPlugins answers GET /v1/sluice/plugins, and leaves the rest to h.
func (p *parts) withPlugins(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/sluice/plugins" || r.Method != http.MethodGet {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.pluginCounts()) // a client that went away needs no answer
	})
}
