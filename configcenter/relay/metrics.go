package relay

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a relay. The first five have the names and meanings of etcd's own
// proxy.
type metrics struct {
	registry *prometheus.Registry

	watchers    prometheus.Gauge
	events      prometheus.Counter
	cacheKeys   prometheus.Gauge
	cacheHits   prometheus.Gauge
	cacheMisses prometheus.Gauge

	streams    prometheus.Gauge
	feeds      prometheus.Gauge
	ringBytes  prometheus.Gauge
	overflows  prometheus.Counter
	resumes    prometheus.Counter
	fetches    prometheus.Counter
	keepAlives prometheus.Counter
	renewals   prometheus.Counter
}

func newMetrics() *metrics {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		registry:    reg,
		watchers:    gauge("etcd_grpc_proxy_watchers_coalescing_total", "Watchers of clients."),
		events:      counter("etcd_grpc_proxy_events_coalescing_total", "Revisions received from the cluster for watchers."),
		cacheKeys:   gauge("etcd_grpc_proxy_cache_keys_total", "Ranges in the cache."),
		cacheHits:   gauge("etcd_grpc_proxy_cache_hits_total", "Reads answered from the cache."),
		cacheMisses: gauge("etcd_grpc_proxy_cache_misses_total", "Reads that could have been in the cache and were not."),
		streams:     gauge("sluice_relay_watch_streams", "Watch streams of clients."),
		feeds:       gauge("sluice_relay_upstream_watches", "Watches in the cluster."),
		ringBytes:   gauge("sluice_relay_ring_bytes", "Size of the history kept for watchers."),
		overflows:   counter("sluice_relay_overflows_total", "Watchers cancelled because they were too far behind."),
		resumes:     counter("sluice_relay_upstream_resumes_total", "How often the watch stream in the cluster had to be opened anew."),
		fetches:     counter("sluice_relay_past_fetches_total", "Looks into the past in the cluster."),
		keepAlives:  counter("sluice_relay_keepalives_total", "Lease keep-alives of clients."),
		renewals:    counter("sluice_relay_upstream_keepalives_total", "Lease keep-alives sent to the cluster."),
	}
}
