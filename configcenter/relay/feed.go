package relay

import (
	"context"
	"runtime"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// feed is one watch in the cluster and its recent events, for all watchers of
// its span and of parts of it. Watchers come and fetch, each at its own pace;
// none is waited for.
type feed struct {
	id   int64 // of the watch in the cluster
	r    *Relay
	src  *source
	span span // as clients see it
	prev bool // events have the values before

	filling chan struct{} // holds a token while the ring is made longer backwards

	mu      sync.Mutex
	ring    []batch // never changed in place: pages are made of parts of it
	first   int64   // from here on all revisions are in the ring
	rev     int64   // up to here
	events  int
	bytes   int
	lost    int64 // how often the cluster went back behind what was known
	failed  string
	groups  map[taste]*group
	keys    map[string][]*group // the groups of one key
	ranges  []*group
	members int
	held    int       // uses that are not watchers
	idle    time.Time // when the last member left
	ticks   int64
	due     *time.Timer // wakes the dirty groups
	todo    []*stream   // to be woken
	waking  bool        // somebody does it
	waked   time.Time
	closed  bool
}

// group is the watchers that get exactly the same. Guarded by the feed's mu.
type group struct {
	taste
	watchers []*watcher
	pages    [4]*page // the newest pages, in turn
	turn     int
	dirty    bool
}

func newFeed(s *source, sp span, prev bool, rev int64) *feed {
	return &feed{id: s.r.ids.Add(1), r: s.r, src: s, span: sp, prev: prev, filling: make(chan struct{}, 1),
		first: rev + 1, rev: rev, groups: map[taste]*group{}, keys: map[string][]*group{}, idle: time.Now()}
}

// create is the request that begins the feed, or goes on with it.
func (f *feed) create() *pb.WatchRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.span.within(f.r.cfg.Namespace)
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(in.key), RangeEnd: []byte(in.end), StartRevision: f.rev + 1, WatchId: f.id,
		PrevKv: f.prev, ProgressNotify: true, Fragment: true}}}
}

// add takes what happened, up to a revision.
func (f *feed) add(bs []batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.append(bs)
}

func (f *feed) append(bs []batch) {
	for len(bs) > 0 && bs[0].rev <= f.rev {
		bs = bs[1:] // known
	}
	if len(bs) == 0 {
		return
	}
	f.ring = append(f.ring, bs...)
	for i := range bs {
		f.count(&bs[i], 1)
		for k := range bs[i].events {
			f.mark(&bs[i].events[k])
		}
	}
	f.trim()
	f.rev = bs[len(bs)-1].rev
	f.wake()
}

func (f *feed) count(b *batch, sign int) {
	f.events += sign * len(b.events)
	f.bytes += sign * b.bytes
	f.r.m.ringBytes.Add(float64(sign * b.bytes))
}

// mark notes who wants the event.
func (f *feed) mark(e *event) {
	for _, g := range f.keys[string(e.key)] {
		g.dirty = g.dirty || g.wants(e)
	}
	for _, g := range f.ranges {
		g.dirty = g.dirty || g.wants(e)
	}
}

// trim drops the oldest revisions, half of the room at a time.
func (f *feed) trim() {
	if f.events <= f.r.cfg.RingEvents && f.bytes <= f.r.cfg.RingBytes {
		return
	}
	n := 0
	for n < len(f.ring)-1 && (f.events > f.r.cfg.RingEvents/2 || f.bytes > f.r.cfg.RingBytes/2) {
		f.count(&f.ring[n], -1)
		n++
	}
	if n > 0 {
		f.first = f.ring[n].rev
	}
	f.ring = append([]batch(nil), f.ring[n:]...) // so that the old ones can be freed
}

// progress takes that nothing happened up to a revision.
func (f *feed) progress(rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rev > f.rev {
		f.rev = rev
	}
}

// Many watchers are told at intervals, so that each is told more at a time:
// what is told is the same, and the telling costs by the message.
const (
	paceEach = 10 * time.Microsecond
	paceMost = 100 * time.Millisecond
)

// wake has the dirty groups fetch: at once when that was not done just before.
func (f *feed) wake() {
	if f.due != nil || f.closed {
		return
	}
	pace := min(time.Duration(f.members)*paceEach, paceMost)
	if wait := pace - time.Since(f.waked); wait > 0 {
		f.due = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.due = nil
			f.wakeDirty()
		})
		return
	}
	f.wakeDirty()
}

func (f *feed) wakeDirty() {
	if f.closed {
		return
	}
	f.waked = time.Now()
	for _, g := range f.groups {
		if !g.dirty {
			continue
		}
		g.dirty = false
		for _, w := range g.watchers {
			f.todo = append(f.todo, w.st)
		}
	}
	if len(f.todo) > 0 && !f.waking {
		f.waking = true
		f.r.runs.Go(f.waker) // ends when all are woken
	}
}

// handful is how many streams are woken at a time: what they need is still in
// the processor's caches when their connections are written to.
const handful = 64

// waker wakes streams, and lets them do their work in between.
func (f *feed) waker() {
	var todo []*stream
	for {
		f.mu.Lock()
		clear(todo)
		todo, f.todo = f.todo, todo[:0]
		f.waking = len(todo) > 0
		f.mu.Unlock()
		if len(todo) == 0 {
			return
		}
		for i, st := range todo {
			st.wake()
			if i%handful == handful-1 {
				runtime.Gosched()
			}
		}
	}
}

// wakeAll has all watchers look.
func (f *feed) wakeAll() {
	for _, g := range f.groups {
		g.dirty = true
	}
	f.wakeDirty()
}

// compacted takes that the revisions up to rev are no longer known to the
// cluster; lost says that the cluster went back to an older state. The feed
// goes on at rev.
func (f *feed) compacted(rev int64, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ring {
		f.count(&f.ring[i], -1)
	}
	f.ring, f.first, f.rev = nil, rev, rev-1
	if lost {
		f.lost++
	}
	for _, g := range f.groups {
		g.pages = [4]*page{}
	}
	f.wakeAll()
}

// fail ends all watchers of the feed, and those to come, with a reason.
func (f *feed) fail(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = reason
	f.wakeAll()
}

// close ends the feed; it has no members.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.due != nil {
		f.due.Stop()
	}
	for i := range f.ring {
		f.count(&f.ring[i], -1)
	}
	f.ring = nil
}

// join makes the watcher one of the feed.
func (f *feed) join(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.groups[w.taste]
	if g == nil {
		g = &group{taste: w.taste}
		f.groups[w.taste] = g
		if w.span.one() {
			f.keys[w.span.key] = append(f.keys[w.span.key], g)
		} else {
			f.ranges = append(f.ranges, g)
		}
	}
	w.feed, w.group, w.slot, w.tick, w.lost = f, g, len(g.watchers), f.ticks, f.lost
	g.watchers = append(g.watchers, w)
	f.members++
}

func (f *feed) leave(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := w.group
	last := len(g.watchers) - 1
	g.watchers[w.slot] = g.watchers[last]
	g.watchers[w.slot].slot = w.slot
	g.watchers[last] = nil
	g.watchers = g.watchers[:last]
	if last == 0 {
		delete(f.groups, g.taste)
		if g.span.one() {
			if f.keys[g.span.key] = without(f.keys[g.span.key], g); len(f.keys[g.span.key]) == 0 {
				delete(f.keys, g.span.key)
			}
		} else {
			f.ranges = without(f.ranges, g)
		}
	}
	f.members--
	f.idle = time.Now()
}

func without(gs []*group, g *group) []*group {
	for i := range gs {
		if gs[i] == g {
			gs[i] = gs[len(gs)-1]
			gs[len(gs)-1] = nil
			return gs[:len(gs)-1]
		}
	}
	return gs
}

// state of a watcher towards its feed.
type state struct {
	page   *page // nil: there is nothing new
	first  int64
	rev    int64 // the feed's
	ticks  int64
	behind bool   // what comes next is not in the ring
	lost   bool   // the cluster went back since the watcher joined
	failed string // not empty: the watcher has ended
}

// look returns what the watcher gets next.
func (f *feed) look(w *watcher) state {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := state{first: f.first, rev: f.rev, ticks: f.ticks, failed: f.failed, lost: w.lost != f.lost}
	switch {
	case f.failed != "" || st.lost || w.next > f.rev:
	case w.next < f.first:
		st.behind = true
	default:
		st.page = w.group.page(f.ring, w.next, f.rev)
	}
	return st
}

// page is read anew unless others wanted the same just before.
func (g *group) page(ring []batch, from, until int64) *page {
	for _, p := range g.pages {
		if p != nil && p.from == from && (p.to == until || len(p.body) > pageBytes/2) {
			return p
		}
	}
	p := read(ring, &g.taste, from, until)
	g.pages[g.turn%len(g.pages)] = p
	g.turn++
	return p
}

// losses is how often the cluster went back so far: revisions of before are
// another history's.
func (f *feed) losses() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// changed says whether something of the span happened after a revision, as far
// as the feed knows; ok is false when it does not know. lost is what losses said
// before the revision was read.
func (f *feed) changed(sp span, after, lost int64) (changed bool, rev int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != "" || f.closed || f.lost != lost || after+1 < f.first {
		return false, 0, false
	}
	for i := since(f.ring, after+1); i < len(f.ring); i++ {
		for k := range f.ring[i].events {
			if sp.has(f.ring[i].events[k].key) {
				return true, f.rev, true
			}
		}
	}
	return false, f.rev, true
}

// tick makes the watchers that want to hear the revision hear it.
func (f *feed) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ticks++
	f.wakeAll()
}

// fill makes the ring begin at a revision, or returns what is from there on and
// does not fit. compact is not 0 when it is no longer known.
func (f *feed) fill(ctx context.Context, from int64) (bs []batch, to, compact int64, err error) {
	select {
	case f.filling <- struct{}{}:
		defer func() { <-f.filling }()
	case <-ctx.Done():
		return nil, 0, 0, ctx.Err()
	}
	f.mu.Lock()
	first, lost := f.first, f.lost
	f.mu.Unlock()
	if first <= from {
		return nil, 0, 0, nil // somebody else has done it
	}
	bs, to, compact, err = f.src.past(ctx, f.span, f.prev, from, first-1)
	if err != nil || compact > 0 || to < first-1 {
		return bs, to, compact, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	events, bytes := f.events, f.bytes
	for i := range bs {
		events += len(bs[i].events)
		bytes += bs[i].bytes
	}
	if f.first != first || f.lost != lost || events > f.r.cfg.RingEvents || bytes > f.r.cfg.RingBytes {
		return bs, to, 0, nil
	}
	for i := range bs {
		f.count(&bs[i], 1)
	}
	f.ring, f.first = append(bs, f.ring...), from
	return nil, 0, 0, nil
}
