package tally

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Timeline has the times of the plugins of one request, when they are taken.
// It belongs to a connection and serves its requests one after the other. The
// zero value is ready.
type Timeline struct {
	on     bool
	shown  bool  // somebody wants to see it
	weight int64 // how many requests this one stands for in the histograms
	gap    int64 // requests until the next one of the sample; 0: not drawn yet
	stripe uint8
	last   int64 // when the step before ended
	spans  []span
}

// span is one plugin in one phase of the request.
type span struct {
	at     *Counts
	ns     int64
	status int // of the reply that it gave, or 0
	failed bool
}

// sampleEvery is of how many requests one is timed. A reading of the clock
// costs up to 0.1 µs, so that this makes the plugins' times cost some
// nanoseconds for each.
const sampleEvery = 32

// Begin starts a request. With all it is timed; otherwise it is with a chance
// of one in 32, whatever the requests around it did, and then counts for 32:
// what is estimated from the sample has no bias, not even for routes that are
// called in a fixed rhythm or for connections that carry one request.
func (t *Timeline) Begin(all bool) {
	t.shown = false
	if all {
		t.start(1)
		t.shown = true
		return
	}
	if t.gap == 0 {
		t.draw()
	}
	if t.gap--; t.gap > 0 {
		t.on = false
		return
	}
	t.start(sampleEvery)
}

func (t *Timeline) start(weight int64) {
	t.on, t.weight, t.spans = true, weight, t.spans[:0]
}

// draw chooses the next request of the sample: tries until one in sampleEvery
// succeeds are distributed geometrically.
func (t *Timeline) draw() {
	r := rand.Uint64()
	t.stripe = uint8(r % stripes)
	u := float64(r>>11+1) / (1 << 53) // in (0, 1]
	t.gap = 1 + int64(math.Log(u)/math.Log1p(-1.0/sampleEvery))
}

// Show lets the request's times be taken because somebody will see them. They
// go into the histograms only if the sample has the request, too.
func (t *Timeline) Show() {
	if !t.on {
		t.start(0)
	}
	t.shown = true
}

// Shown reports whether somebody wants to see the times.
func (t *Timeline) Shown() bool { return t.shown }

// On reports whether the request is timed.
func (t *Timeline) On() bool { return t.on }

// epoch is what times are counted from: only the differences matter.
var epoch = time.Now()

// Mark starts the clock for the next Step.
func (t *Timeline) Mark() { t.last = int64(time.Since(epoch)) }

// Step gives the time since the last Mark or Step to a plugin. Pieces of a
// body make one span.
func (t *Timeline) Step(at *Counts) {
	now := int64(time.Since(epoch))
	ns := now - t.last
	t.last = now
	if at.Phase == BodyFilter || at.Phase == DelayedBody {
		for i := len(t.spans) - 1; i >= 0 && t.spans[i].at.Phase >= BodyFilter; i-- {
			if t.spans[i].at == at {
				t.spans[i].ns += ns
				return
			}
		}
	}
	t.spans = append(t.spans, span{at: at, ns: ns})
}

// Replied notes that the last Step was that of who replied.
func (t *Timeline) Replied(status int) {
	if n := len(t.spans); n > 0 {
		t.spans[n-1].status = status
	}
}

// Failed notes that the last Step was a failure.
func (t *Timeline) Failed() {
	if n := len(t.spans); n > 0 {
		t.spans[n-1].failed = true
	}
}

// End adds the request's times to the histograms.
func (t *Timeline) End() {
	if !t.on {
		return
	}
	t.on = false
	if t.weight == 0 {
		return
	}
	for i := range t.spans {
		t.spans[i].at.observe(t, t.spans[i].ns, t.weight)
	}
}

// Append writes the times so far behind b, in the order of running:
// "rewrite/key-auth:12.3, access/ip-restriction:0.8=403" has microseconds, and
// the status where one replied, or "=failed". false: there are none to see.
func (t *Timeline) Append(b []byte) ([]byte, bool) {
	if !t.shown || len(t.spans) == 0 {
		return b, false
	}
	for i := range t.spans {
		s := &t.spans[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, s.at.place...), ':')
		b = strconv.AppendFloat(b, float64(s.ns)/1000, 'f', 1, 64)
		switch {
		case s.failed:
			b = append(b, "=failed"...)
		case s.status != 0:
			b = strconv.AppendInt(append(b, '='), int64(s.status), 10)
		}
	}
	return b, true
}
