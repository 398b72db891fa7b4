// Package metrics holds what the process counts, in the families and with the
// labels that APISIX exports, and writes it in the text format of Prometheus.
// The counters are its own: a request finds all its series with one look-up
// and adds to them without a lock; client_golang collects and writes.
//
// It does not know who scrapes, nor where the values of the gauges come from.
package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/plugins"
)

// Attr is plugin_attr.prometheus of config.yaml.
type Attr struct {
	ExportURI          string `json:"export_uri"`
	MetricPrefix       string `json:"metric_prefix"`
	EnableExportServer bool   `json:"enable_export_server"`
	ExportAddr         struct {
		IP   string `json:"ip"`
		Port int    `json:"port"`
	} `json:"export_addr"`
	Metrics                    map[string]metricAttr `json:"metrics"`
	DefaultBuckets             []float64             `json:"default_buckets"`
	LLMLatencyBuckets          []float64             `json:"llm_latency_buckets"`
	LLMPromptTokensBuckets     []float64             `json:"llm_prompt_tokens_buckets"`
	LLMCompletionTokensBuckets []float64             `json:"llm_completion_tokens_buckets"`
	EmbeddingLatencyBuckets    []float64             `json:"ai_cache_embedding_latency_buckets"`
}

type metricAttr struct {
	Expire      float64             `json:"expire"` // seconds; 0: never
	ExtraLabels []map[string]string `json:"extra_labels"`
}

// ReadAttr decodes plugin_attr.prometheus; nil stands for an empty one.
func ReadAttr(text json.RawMessage) (*Attr, error) {
	a := &Attr{ExportURI: "/apisix/prometheus/metrics", MetricPrefix: "apisix_"}
	a.ExportAddr.IP, a.ExportAddr.Port = "127.0.0.1", 9091
	if err := plugins.Decode(text, a); err != nil {
		return nil, fmt.Errorf("plugin_attr.prometheus: %w", err)
	}
	return a, nil
}

// Set is all metrics of the process. Safe for concurrent use.
type Set struct {
	registry *prometheus.Registry
	families map[string]*family // by name without prefix
	byName   map[string]*family // by whole name
	errors   *Series
	now      func() time.Time
	limit    int // of the series of a family
	// swept counts the times that series were dropped: what was looked up
	// before may hold one of them.
	swept atomic.Uint64

	mu      sync.Mutex
	sources []Source
}

// Source yields the present values of gauges: the metric's name without
// prefix, the value, and the label values in the order of their declaration.
type Source func(yield func(metric string, value int64, labels ...string))

// Open returns the process's set, made on first use from attr, and its release.
func Open(shared *plugins.Shared, attr *Attr, now func() time.Time) (*Set, func()) {
	return plugins.Share(shared, "metrics", func() *Set { return newSet(attr, now) }, nil)
}

func newSet(attr *Attr, now func() time.Time) *Set {
	s := &Set{registry: prometheus.NewRegistry(), families: map[string]*family{},
		byName: map[string]*family{}, now: now, limit: maxSeries}
	for _, d := range declared {
		s.declare(d, attr)
	}
	s.errors = s.families["nginx_metric_errors_total"].get(nil)
	s.registry.MustRegister(gauges{s})
	return s
}

func (s *Set) declare(d declaration, attr *Attr) {
	m := attr.Metrics[d.name]
	f := &family{name: attr.MetricPrefix + d.name, help: d.help, kind: d.kind, labels: slices.Clone(d.labels),
		expire: time.Duration(m.Expire * float64(time.Second)), all: s, series: map[string]*Series{}}
	for _, extra := range m.ExtraLabels {
		for _, label := range slices.Sorted(maps.Keys(extra)) {
			f.labels = append(f.labels, label)
			f.extra = append(f.extra, plugins.VariableAppender(trimDollar(extra[label])))
		}
	}
	if d.kind == histogram {
		f.buckets = d.buckets(attr)
	}
	f.desc = prometheus.NewDesc(f.name, d.help, f.labels, nil)
	s.families[d.name], s.byName[f.name] = f, f
	if !d.external {
		s.registry.MustRegister(f)
	}
}

func trimDollar(name string) string {
	if name != "" && name[0] == '$' {
		return name[1:]
	}
	return name
}

// Add makes src part of every scrape from now on.
func (s *Set) Add(src Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(slices.Clone(s.sources), src)
}

// sweep drops what has expired.
func (s *Set) sweep() {
	now := s.now()
	for _, f := range s.families {
		if f.drop(now) {
			s.swept.Add(1)
		}
	}
}

// gauges collects from the sources. It describes nothing, so that which
// metrics come is known only at the scrape.
type gauges struct{ s *Set }

func (g gauges) Describe(chan<- *prometheus.Desc) {}

func (g gauges) Collect(ch chan<- prometheus.Metric) {
	g.s.mu.Lock()
	sources := g.s.sources
	g.s.mu.Unlock()
	for _, src := range sources {
		src(func(metric string, value int64, labels ...string) {
			f := g.s.families[metric]
			if f == nil || len(labels) != len(f.labels) {
				g.s.errors.Add(1)
				return
			}
			line := &Series{pairs: f.pairs(labels)}
			line.n.Store(value)
			ch <- sample{f, line}
		})
	}
}
