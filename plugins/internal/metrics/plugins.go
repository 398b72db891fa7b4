package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/tally"
)

// What the runner counts of every plugin in use. APISIX has nothing like it:
// the names are ours, whatever metric_prefix says.
var (
	pluginDuration = prometheus.NewDesc("sluice_plugin_duration_seconds",
		"Time that a plugin took in a phase, estimated from a sample of the requests", []string{"plugin", "phase"}, nil)
	pluginReplies = prometheus.NewDesc("sluice_plugin_replies_total",
		"Requests that a plugin answered itself", []string{"plugin", "phase"}, nil)
	pluginFailures = prometheus.NewDesc("sluice_plugin_failures_total",
		"Errors and panics of a plugin", []string{"plugin", "phase", "kind"}, nil)
)

// AddPlugins makes the counts of plugins part of every scrape from now on.
func (s *Set) AddPlugins(read func() []tally.Reading) {
	s.registry.MustRegister(pluginCounts(read))
}

// pluginCounts collects. It describes nothing: see gauges.
type pluginCounts func() []tally.Reading

// Describe is of prometheus.Collector.
func (pluginCounts) Describe(chan<- *prometheus.Desc) {}

// Collect is of prometheus.Collector.
func (read pluginCounts) Collect(ch chan<- prometheus.Metric) {
	bounds := tally.Bounds()
	for _, r := range read() {
		phase := r.Phase.String()
		upTo := make(map[float64]uint64, len(bounds))
		var n uint64
		for i, le := range bounds {
			n += uint64(r.Buckets[i])
			upTo[le] = n
		}
		ch <- prometheus.MustNewConstHistogram(pluginDuration, uint64(r.Runs()), r.Seconds, upTo, r.Plugin, phase)
		if r.Phase <= tally.BeforeProxy {
			ch <- prometheus.MustNewConstMetric(pluginReplies, prometheus.CounterValue, float64(r.Replies), r.Plugin, phase)
		}
		ch <- prometheus.MustNewConstMetric(pluginFailures, prometheus.CounterValue, float64(r.Errors), r.Plugin, phase, tally.Error.String())
		ch <- prometheus.MustNewConstMetric(pluginFailures, prometheus.CounterValue, float64(r.Panics), r.Plugin, phase, tally.Panic.String())
	}
}
