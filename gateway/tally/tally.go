// Package tally counts what plugins do on the walk of a request: how long each
// takes in each phase, how often it replies, how often it fails. Counting takes
// no lock, and processors do not share what they write to.
//
// It does not know plugins, requests or who reads the counts: all it has of
// them are names.
package tally

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// Phase is a phase of the walk, in the order in which they are run.
type Phase uint8

// The phases.
const (
	Rewrite Phase = iota
	RewriteInConsumer
	Access
	BeforeProxy
	Received
	HeaderFilter
	DelayedHeader
	BodyFilter
	DelayedBody
	Log
)

var phaseNames = [...]string{"rewrite", "rewrite_in_consumer", "access", "before_proxy", "received", "header_filter",
	"delayed_header_filter", "body_filter", "delayed_body_filter", "log"}

// String is the phase as the configuration and APISIX spell it.
func (p Phase) String() string { return phaseNames[p] }

// Kind is the way in which a plugin failed.
type Kind uint8

// The kinds of failures.
const (
	Error Kind = iota
	Panic
	kinds
)

// String is "error" or "panic".
func (k Kind) String() string { return [...]string{"error", "panic"}[k] }

// bounds are the upper ends of the buckets of a histogram, in nanoseconds.
var bounds = [...]int64{250, 1e3, 2.5e3, 5e3, 10e3, 25e3, 50e3, 100e3, 250e3, 500e3,
	1e6, 5e6, 10e6, 50e6, 100e6, 500e6, 1e9, 5e9, 10e9}

// Bounds are the upper ends of the buckets in seconds.
func Bounds() []float64 {
	list := make([]float64, len(bounds))
	for i, ns := range bounds {
		list[i] = float64(ns) / 1e9
	}
	return list
}

// stripes is over how many places each count is spread: connections take one
// each, so that two processors seldom write to the same.
const stripes = 8

type stripe struct {
	sum     atomic.Int64 // ns
	replies atomic.Int64
	failed  [kinds]atomic.Int64
	buckets [len(bounds) + 1]atomic.Int64
	_       [8 * 8]byte // keeps the next one off the same cache line
}

// Counts is one plugin in one phase. Safe for concurrent use.
type Counts struct {
	Plugin string
	Phase  Phase
	place  string // "access/ip-restriction"
	s      *[stripes]stripe
}

// Reply counts one answer that the plugin gave.
func (c *Counts) Reply(t *Timeline) {
	if c.s != nil {
		c.s[t.stripe].replies.Add(1)
	}
}

// Fail counts one failure.
func (c *Counts) Fail(t *Timeline, k Kind) {
	if c.s != nil {
		c.s[t.stripe].failed[k].Add(1)
	}
}

// observe adds a time that stands for n of them.
func (c *Counts) observe(t *Timeline, ns, n int64) {
	if c.s == nil {
		return
	}
	i := 0
	for i < len(bounds) && ns > bounds[i] {
		i++
	}
	s := &c.s[t.stripe]
	s.buckets[i].Add(n)
	s.sum.Add(ns * n)
}

// Book has the counts of a process. The nil Book hands out Counts that count
// nothing. Safe for concurrent use.
type Book struct {
	mu sync.Mutex
	by map[string]*Counts
}

// Of is the counts of a plugin in a phase, made on first use and kept.
func (b *Book) Of(plugin string, p Phase) *Counts {
	place := p.String() + "/" + plugin
	c := &Counts{Plugin: plugin, Phase: p, place: place}
	if b == nil {
		return c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if had := b.by[place]; had != nil {
		return had
	}
	if b.by == nil {
		b.by = map[string]*Counts{}
	}
	c.s = new([stripes]stripe)
	b.by[place] = c
	return c
}

// Reading is what Counts had when it was read.
type Reading struct {
	Plugin  string
	Phase   Phase
	Replies int64
	Errors  int64
	Panics  int64
	Seconds float64 // spent in all runs
	// Buckets are the runs, not cumulated, that took up to the bound of the same
	// index; one more at the end for those beyond. Runs and Seconds are estimated
	// from a sample, see Timeline.Begin.
	Buckets []int64
}

// Runs is the number of runs.
func (r *Reading) Runs() int64 {
	var n int64
	for _, b := range r.Buckets {
		n += b
	}
	return n
}

// Read returns all counts, by plugin and then phase.
func (b *Book) Read() []Reading {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	list := make([]*Counts, 0, len(b.by))
	for _, c := range b.by {
		list = append(list, c)
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y *Counts) int {
		return cmp.Or(cmp.Compare(x.Plugin, y.Plugin), cmp.Compare(x.Phase, y.Phase))
	})
	out := make([]Reading, len(list))
	for i, c := range list {
		out[i] = c.read()
	}
	return out
}

func (c *Counts) read() Reading {
	r := Reading{Plugin: c.Plugin, Phase: c.Phase, Buckets: make([]int64, len(bounds)+1)}
	var ns int64
	for i := range c.s {
		s := &c.s[i]
		ns += s.sum.Load()
		r.Replies += s.replies.Load()
		r.Errors += s.failed[Error].Load()
		r.Panics += s.failed[Panic].Load()
		for j := range s.buckets {
			r.Buckets[j] += s.buckets[j].Load()
		}
	}
	r.Seconds = float64(ns) / 1e9
	return r
}
