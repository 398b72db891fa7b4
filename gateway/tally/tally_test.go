package tally

import (
	"strings"
	"sync"
	"testing"
)

// TestSample lets the sample stand for all requests: what is estimated comes
// close to what there was, for long connections and for those of one request.
func TestSample(t *testing.T) {
	for name, perConnection := range map[string]int{"one connection": 1 << 30, "a connection each": 1, "three each": 3} {
		b := &Book{}
		at := b.Of("p", Access)
		const n = 200_000
		var tl Timeline
		for i := range n {
			if i%perConnection == 0 {
				tl = Timeline{}
			}
			tl.Begin(false)
			if tl.On() {
				tl.Mark()
				tl.Step(at)
			}
			tl.End()
		}
		r := b.Read()[0]
		// 6250 of the sample are expected, with a deviation of 78
		if runs := r.Runs(); runs < n-n/10 || runs > n+n/10 || runs%sampleEvery != 0 {
			t.Errorf("%s: %d runs estimated, there were %d", name, runs, n)
		}
	}
}

func TestTimeline(t *testing.T) {
	b := &Book{}
	var tl Timeline
	tl.Begin(true)
	body := b.Of("b", BodyFilter)
	for _, at := range []*Counts{b.Of("a", Rewrite), b.Of("c", Access), body, b.Of("d", BodyFilter), body} {
		tl.Mark()
		tl.Step(at)
		switch at.Plugin {
		case "a":
			tl.Failed()
		case "c":
			at.Reply(&tl)
			at.Fail(&tl, Panic)
			tl.Replied(403)
		}
	}
	text, ok := tl.Append(nil)
	var shape []string
	for _, part := range strings.Split(string(text), ", ") {
		place, rest, _ := strings.Cut(part, ":")
		_, how, _ := strings.Cut(rest, "=")
		shape = append(shape, place+"="+how)
	}
	if got := strings.Join(shape, " "); !ok || got != "rewrite/a=failed access/c=403 body_filter/b= body_filter/d=" {
		t.Errorf("%s, %v", text, ok)
	}
	tl.End()
	tl.Begin(true)
	if text, ok := tl.Append(nil); ok {
		t.Errorf("the next request begins with %s", text)
	}
	var all []string
	for _, r := range b.Read() {
		if r.Runs() != 1 || r.Seconds < 0 {
			t.Errorf("%+v", r)
		}
		if r.Plugin == "c" && (r.Replies != 1 || r.Panics != 1 || r.Errors != 0) {
			t.Errorf("%+v", r)
		}
		all = append(all, r.Plugin+" "+r.Phase.String())
	}
	if got := strings.Join(all, ", "); got != "a rewrite, b body_filter, c access, d body_filter" {
		t.Error(got)
	}
}

// TestShow: what is only shown does not weigh in the histograms.
func TestShow(t *testing.T) {
	b := &Book{}
	at := b.Of("p", Access)
	for range 1000 {
		var tl Timeline
		tl.gap = 1 << 40 // far from the sample
		tl.Begin(false)
		if tl.On() {
			t.Fatal("timed")
		}
		tl.Show()
		tl.Mark()
		tl.Step(at)
		if _, ok := tl.Append(nil); !ok {
			t.Fatal("not shown")
		}
		tl.End()
	}
	if n := b.Read()[0].Runs(); n != 0 {
		t.Errorf("%d runs counted", n)
	}
}

func TestNobodyCounts(t *testing.T) {
	var b *Book
	at, tl := b.Of("p", Log), &Timeline{}
	at.Reply(tl)
	at.Fail(tl, Error)
	tl.Begin(true)
	tl.Mark()
	tl.Step(at)
	tl.End()
	if b.Read() != nil {
		t.Error("counted")
	}
}

func TestTogether(t *testing.T) {
	b := &Book{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var tl Timeline
			for range 1000 {
				tl.Begin(false)
				at := b.Of("p", Access)
				at.Reply(&tl)
				if tl.On() {
					tl.Mark()
					tl.Step(at)
				}
				tl.End()
				b.Read()
			}
		})
	}
	wg.Wait()
	if n := b.Read()[0].Replies; n != 8000 {
		t.Errorf("%d replies", n)
	}
}

// BenchmarkRequest is a request through ten plugins as the runner counts it.
func BenchmarkRequest(b *testing.B) {
	book := &Book{}
	var at [10]*Counts
	for i := range at {
		at[i] = book.Of("p"+string(rune('0'+i)), Access)
	}
	var tl Timeline
	b.ReportAllocs()
	for b.Loop() {
		tl.Begin(false)
		if tl.On() {
			tl.Mark()
		}
		for i := range at {
			if tl.On() {
				tl.Step(at[i])
			}
		}
		tl.End()
	}
}
