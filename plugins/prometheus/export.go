package prometheus

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"

	"sluice/gateway/tally"
	"sluice/plugins"
	"sluice/plugins/internal/batch"
	"sluice/plugins/internal/metrics"
)

// Exporter is the process's metrics, for the command that runs the export server.
type Exporter struct {
	set  *metrics.Set
	attr *metrics.Attr
}

// Source yields the present values of gauges: name without prefix, value, and
// label values in the order in which README.md lists the labels.
type Source = metrics.Source

// Open returns the exporter of the process whose instances have shared in
// their Env. attr is plugin_attr.prometheus, or nil. The metrics live as long as the process.
func Open(shared *plugins.Shared, attr json.RawMessage) (*Exporter, error) {
	a, err := metrics.ReadAttr(attr)
	if err != nil {
		return nil, err
	}
	set, _ := metrics.Open(shared, a, time.Now)
	set.Add(batch.Entries(shared))
	return &Exporter{set, a}, nil
}

// Addr is where the export server listens; "" when it is off.
func (e *Exporter) Addr() string {
	if !e.attr.EnableExportServer {
		return ""
	}
	return net.JoinHostPort(e.attr.ExportAddr.IP, strconv.Itoa(e.attr.ExportAddr.Port))
}

// Handler serves the metrics at the configured URI.
func (e *Exporter) Handler() http.Handler { return e.set.Handler(e.attr.ExportURI) }

// AddPlugins makes the counts of the plugins part of every scrape.
func (e *Exporter) AddPlugins(read func() []tally.Reading) { e.set.AddPlugins(read) }

// Add makes src part of every scrape.
func (e *Exporter) Add(src Source) { e.set.Add(src) }
