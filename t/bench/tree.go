package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// level is one floor of a tree of relays: so many nodes, each with so many
// watchers below it.
type level struct {
	name     string
	nodes    int
	watchers int
}

// What the simulation takes as given, beside the tree: a relay hands a frame to
// one watcher after the other; the network between two floors is in one region.
const (
	gateways   = 50_000
	eventBytes = 420.0 // a route of 300 bytes with key and frame, on the wire
	perWatcher = 12e-6 // seconds of a relay's processor for one event to one watcher
	hopLow     = 0.3e-3
	hopHigh    = 2e-3
	putTime    = 2e-3 // the write itself
	applyTime  = 1e-3 // a gateway makes an event live
	changesPer = 10.0 // changes a second, for the bandwidth
	linkBits   = 10e9
)

// tree simulates fifty thousand gateways below relays: the streams that each
// node holds, what it sends, and when a change is live everywhere.
func (b *bench) tree() error {
	for _, t := range [][]level{
		{{"etcd", 3, gateways/3 + 1}},
		{{"etcd", 3, 2}, {"relay", 5, gateways / 5}},
		{{"etcd", 3, 2}, {"relay", 5, 5}, {"relay", 25, gateways / 25}},
		{{"etcd", 3, 2}, {"relay", 4, 16}, {"relay", 64, gateways/64 + 1}},
	} {
		p50, p99, last := spreadTime(t, 2000)
		label := fmt.Sprintf("%d gateways, simulated", gateways)
		b.note(label, shape(t), fmt.Sprintf("streams: %s; at %.0f changes/s: %s; a change is live after p50 %.0f ms, p99 %.0f ms, everywhere %.0f ms; at most %.0f changes/s",
			streams(t), changesPer, bandwidth(t), 1000*p50, 1000*p99, 1000*last, limit(t)))
	}
	return nil
}

func shape(t []level) string {
	s := ""
	for _, l := range t {
		s += fmt.Sprintf("%d %s → ", l.nodes, l.name)
	}
	return s + "gateways"
}

func streams(t []level) string {
	s := ""
	for i, l := range t {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%d at each %s", l.watchers, l.name)
	}
	return s
}

func bandwidth(t []level) string {
	s := ""
	for i, l := range t {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%.1f Mbit/s", float64(l.watchers)*eventBytes*8*changesPer/1e6)
	}
	return s + " from each"
}

// limit is where the busiest processor or link of the tree is full.
func limit(t []level) float64 {
	most := math.Inf(1)
	for _, l := range t {
		n := float64(l.watchers)
		most = min(most, 1/(n*perWatcher), linkBits/(n*eventBytes*8))
	}
	return most
}

// spreadTime draws gateways and follows one event to each: a floor sends it to
// its watchers in turn, and each waits for its place.
func spreadTime(t []level, samples int) (p50, p99, last float64) {
	r := rand.New(rand.NewPCG(1, 2))
	times := make([]float64, 0, samples)
	for range samples {
		at := putTime + applyTime
		for _, l := range t {
			at += r.Float64()*float64(l.watchers)*max(perWatcher, eventBytes*8/linkBits) + hopLow + r.Float64()*(hopHigh-hopLow)
		}
		times = append(times, at)
	}
	slices.Sort(times)
	last = putTime + applyTime
	for _, l := range t {
		last += float64(l.watchers)*perWatcher + hopHigh
	}
	return times[samples/2], times[samples*99/100], last
}
