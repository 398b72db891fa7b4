package counter

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"sluice/plugins"
)

const (
	shards   = 64
	perShard = 4096 // keys; what is over pushes others out
	looked   = 8    // at so many keys an eviction looks
	// late is how long after its arrival a use may be counted. A clock that is
	// further behind was set back.
	late = time.Minute
)

// Local is a Store in the memory of the process. It keeps at most 262,144
// keys: beyond that the one of a few that would end soonest has to go.
type Local struct {
	now   func() time.Time
	seed  maphash.Seed
	parts [shards]part
}

type part struct {
	mu    sync.Mutex
	cells map[string]*cell
	_     [40]byte // a cache line of its own
}

// cell is one key's use.
type cell struct {
	end   int64 // when it is of no use any more, ns since 1970
	used  int64 // in the current window
	last  int64 // in the window before (sliding)
	index int64 // the window that used belongs to: its number (sliding), or when it began
}

// NewLocal returns an empty Local.
func NewLocal(now func() time.Time) *Local {
	l := &Local{now: now, seed: maphash.MakeSeed()}
	for i := range l.parts {
		l.parts[i].cells = map[string]*cell{}
	}
	return l
}

// Open returns the process's Local of that name, and its release.
func Open(env *plugins.Env, name string) (*Local, func()) {
	return plugins.Share(env.Shared, "counter/"+name, func() *Local { return NewLocal(env.Now) }, nil)
}

// Take never fails.
func (l *Local) Take(_ context.Context, key []byte, q Quota, cost int64) (State, error) {
	return l.TakeAt(l.now(), key, q, cost), nil
}

// TakeAt is Take of a use at that time, which may come up to a minute after
// later ones.
func (l *Local) TakeAt(at time.Time, key []byte, q Quota, cost int64) State {
	now := at.UnixNano()
	p := &l.parts[maphash.Bytes(l.seed, key)%shards]
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cells[string(key)]
	if c == nil || c.end <= now {
		c = p.renew(key, c, now)
	}
	if q.Sliding {
		return c.slide(q, cost, now)
	}
	return c.fix(q, cost, now)
}

// renew empties an ended cell or makes one, for which it clears up a little.
func (p *part) renew(key []byte, old *cell, now int64) *cell {
	if old != nil {
		*old = cell{}
		return old
	}
	p.sweep(now)
	c := new(cell)
	p.cells[string(key)] = c
	return c
}

// sweep drops ended ones among a few cells, so that a map that stands still
// shrinks to what is alive, and makes room in a full one.
func (p *part) sweep(now int64) {
	var first string
	soonest, n := int64(math.MaxInt64), 0
	for key, c := range p.cells {
		if c.end <= now {
			delete(p.cells, key)
		} else if c.end < soonest {
			first, soonest = key, c.end
		}
		if n++; n == looked {
			break
		}
	}
	if len(p.cells) >= perShard {
		delete(p.cells, first)
	}
}

func (c *cell) fix(q Quota, cost, now int64) State {
	if c.end == 0 {
		c.index, c.end = now, now+int64(q.Window)
	}
	now = max(now, c.index)
	c.used += cost
	return State{
		Rejected: c.used > q.Limit,
		Left:     q.Limit - c.used,
		Reset:    time.Duration(c.end - now),
	}
}

func (c *cell) slide(q Quota, cost, now int64) State {
	size := int64(q.Window)
	if begin := c.index * size; now < begin && begin-now <= int64(late) {
		now = begin
	}
	index := now / size
	switch index - c.index {
	case 0:
	case 1:
		c.last, c.used = c.used, 0
	default:
		c.last, c.used = 0, 0
	}
	c.index, c.end = index, (index+2)*size
	rest := size - now%size
	last := float64(min(c.last, q.Limit))
	weighed := last / float64(size) * float64(rest)
	if c.used >= q.Limit || weighed+float64(c.used) >= float64(q.Limit) {
		return State{Rejected: true, Reset: c.wait(q, last, rest)}
	}
	c.used += cost
	return State{Left: c.left(q, last, rest), Reset: time.Duration(rest)}
}

// left is what a sliding window has left, the window before being last.
func (c *cell) left(q Quota, last float64, rest int64) int64 {
	weighed := last / float64(q.Window) * float64(rest)
	return int64(math.Floor(float64(q.Limit-c.used) - weighed))
}

// wait is how long it takes until the window before weighs little enough.
func (c *cell) wait(q Quota, last float64, rest int64) time.Duration {
	if c.used >= q.Limit || last == 0 {
		return time.Duration(rest)
	}
	perNano := last / float64(q.Window)
	return time.Duration(max(0, float64(rest)-float64(q.Limit-c.used)/perNano))
}
