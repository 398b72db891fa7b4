package metrics

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"sluice/plugins"
)

// sep stands between the label values of a key. It cannot be in UTF-8 text;
// where a value has it, two series may become one, nothing worse.
const sep = '\xff'

// maxSeries bounds a family: a client must not fill the memory by making up
// label values. Uses beyond count as errors.
const maxSeries = 1 << 16

// kind says what a family holds.
type kind uint8

const (
	counter kind = iota
	gauge
	histogram
)

// family is all series of one metric. Its label values are fixed at a series'
// birth; using a series takes no lock.
type family struct {
	name, help string
	kind       kind
	labels     []string           // with the extra ones of the configuration
	extra      []plugins.Appender // values of these
	buckets    []float64          // upper bounds, of histograms
	expire     time.Duration      // 0: never
	desc       *prometheus.Desc
	all        *Set

	mu     sync.RWMutex
	series map[string]*Series
}

// Series is one line of counters, gauges or a histogram. Safe for concurrent use.
type Series struct {
	pairs   []*dto.LabelPair
	buckets []float64
	n       atomic.Int64   // counters and gauges; thousandths of the sum of histograms
	counts  []atomic.Int64 // of histograms, not cumulated; the last one is +Inf
	used    atomic.Int64   // when it was used last, ns since 1970
	expires bool
	now     func() time.Time
}

// Add adds to a counter or gauge.
func (s *Series) Add(n int64) {
	if s == nil {
		return
	}
	s.n.Add(n)
	if s.expires {
		s.used.Store(s.now().UnixNano())
	}
}

// Observe adds one value, in thousandths of the unit, to a histogram.
func (s *Series) Observe(thousandths int64) {
	if s == nil {
		return
	}
	v, i := float64(thousandths)/1000, 0
	for i < len(s.buckets) && v > s.buckets[i] {
		i++
	}
	s.counts[i].Add(1)
	s.n.Add(thousandths)
	if s.expires {
		s.used.Store(s.now().UnixNano())
	}
}

// get returns the series of these label values, joined by sep; nil when the
// family is full. key is not kept.
func (f *family) get(key []byte) *Series {
	f.mu.RLock()
	s := f.series[string(key)]
	f.mu.RUnlock()
	if s != nil {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.series[string(key)]; s != nil {
		return s
	}
	if len(f.series) >= f.all.limit {
		f.all.errors.Add(1)
		return nil
	}
	s = &Series{buckets: f.buckets, expires: f.expire > 0, now: f.all.now}
	s.used.Store(s.now().UnixNano())
	if f.kind == histogram {
		s.counts = make([]atomic.Int64, len(f.buckets)+1)
	}
	text := string(key)
	s.pairs = f.pairs(split(text, len(f.labels)))
	f.series[text] = s
	return s
}

func (f *family) pairs(values []string) []*dto.LabelPair {
	list := make([]*dto.LabelPair, len(f.labels))
	for i := range f.labels {
		list[i] = &dto.LabelPair{Name: &f.labels[i], Value: proto.String(clean(values[i]))}
	}
	return list
}

// split cuts a key into n values; what is missing is empty.
func split(key string, n int) []string {
	values := make([]string, n)
	for i := range values {
		j := strings.IndexByte(key, sep)
		if j < 0 {
			values[i] = key
			break
		}
		values[i], key = key[:j], key[j+1:]
	}
	return values
}

// clean makes a label value fit for the text format.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// drop removes the series that were not used for as long as the family keeps
// them, and reports whether there was one.
func (f *family) drop(now time.Time) bool {
	if f.expire == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.series)
	for key, s := range f.series {
		if now.UnixNano()-s.used.Load() >= int64(f.expire) {
			delete(f.series, key)
		}
	}
	return len(f.series) != n
}

// Describe is of prometheus.Collector.
func (f *family) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect is of prometheus.Collector.
func (f *family) Collect(ch chan<- prometheus.Metric) {
	f.mu.RLock()
	list := make([]*Series, 0, len(f.series))
	for _, s := range f.series {
		list = append(list, s)
	}
	f.mu.RUnlock()
	for _, s := range list {
		ch <- sample{f, s}
	}
}

// sample is a series for the length of one scrape.
type sample struct {
	f *family
	s *Series
}

func (m sample) Desc() *prometheus.Desc { return m.f.desc }

// Write fills d in.
func (m sample) Write(d *dto.Metric) error {
	d.Label = slices.Clone(m.s.pairs)
	switch m.f.kind {
	case counter:
		d.Counter = &dto.Counter{Value: proto.Float64(float64(m.s.n.Load()))}
	case gauge:
		d.Gauge = &dto.Gauge{Value: proto.Float64(float64(m.s.n.Load()))}
	case histogram:
		d.Histogram = m.s.histogram()
	}
	return nil
}

func (s *Series) histogram() *dto.Histogram {
	h := &dto.Histogram{SampleSum: proto.Float64(float64(s.n.Load()) / 1000)}
	var total uint64
	for i := range s.counts {
		total += uint64(s.counts[i].Load())
		if i < len(s.buckets) {
			h.Bucket = append(h.Bucket, &dto.Bucket{
				CumulativeCount: proto.Uint64(total), UpperBound: proto.Float64(s.buckets[i])})
		}
	}
	h.SampleCount = proto.Uint64(total)
	return h
}
