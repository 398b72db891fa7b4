// Package prometheus counts requests and exports what the gateway counts, in
// the text format of Prometheus.
package prometheus

import (
	"bytes"
	_ "embed"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/internal/metrics"
)

//go:embed schema.json
var schema string

//go:embed metadata.json
var metadataSchema string

// Plugin is prometheus.
var Plugin = plugins.Spec{
	Name:        "prometheus",
	Priority:    500,
	Version:     "0.2",
	PreferRoute: true,
	Schema:      schema,
	Metadata:    metadataSchema,
	New:         plugins.Build(build),
	NewAPIs:     apis,
}

type config struct {
	PreferName bool `json:"prefer_name"`
}

type metadata struct {
	DisabledLabels map[string][]string `json:"disabled_labels"`
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	var md metadata
	if err := plugins.Decode(env.Metadata, &md); err != nil {
		return plugins.Phases{}, err
	}
	attr, err := metrics.ReadAttr(env.Attr)
	if err != nil {
		return plugins.Phases{}, err
	}
	set, release := metrics.Open(env.Shared, attr, env.Now)
	r := set.NewRequests(c.PreferName, md.DisabledLabels)
	return plugins.Phases{Log: r.Count, Close: release}, nil
}

// apis offers the metrics to public-api, unless the export server has them.
func apis(env *plugins.Env) ([]plugins.API, error) {
	attr, err := metrics.ReadAttr(env.Attr)
	if err != nil || attr.EnableExportServer {
		return nil, err
	}
	set, _ := metrics.Open(env.Shared, attr, env.Now) // the process's own: never given back
	return []plugins.API{{
		Methods: []string{"GET"},
		Path:    attr.ExportURI,
		Serve: func(*plugins.Ctx) (*plugins.Reply, error) {
			var b bytes.Buffer
			if err := set.Write(&b); err != nil {
				return nil, err
			}
			var h wire.Header
			h.Set("Content-Type", metrics.ContentType)
			return &plugins.Reply{Status: 200, Header: h, Body: b.Bytes()}, nil
		},
	}}, nil
}
