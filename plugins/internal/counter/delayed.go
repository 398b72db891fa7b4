package counter

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sluice/plugins/internal/redisx"
)

const (
	maxDelayed = 65536           // keys; what is over is counted in Redis at once
	flushChunk = 512             // calls sent together
	flushTime  = 5 * time.Second // for the last of them when the store is closed
)

// Delayed is a Store that decides by what Redis said last, and tells Redis
// every so often what has been used since. A request asks Redis only at the
// beginning of a key's window.
//
// Each of n gateways may give away what was left when it heard from Redis
// last: between two exchanges at most n-1 times the limit is too much, and not
// more than the others have used since then. While Redis is away, each gateway
// counts for itself.
type Delayed struct {
	remote *Remote
	alone  *Local // counts while Redis is away
	every  time.Duration
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex
	cells  map[string]*delayed
	dirty  map[string]*delayed
	timer  *time.Timer // set while something is dirty
	closed bool
	work   sync.WaitGroup // exchanges under way
}

// delayed is what is known of one key.
type delayed struct {
	mu     sync.Mutex
	quota  Quota
	known  bool
	left   int64     // as Redis said, less what it is being told
	until  time.Time // when the window ends
	untold int64     // used, and Redis is not being told yet
}

func newDelayed(r *Remote, every time.Duration, now func() time.Time, log *slog.Logger) *Delayed {
	return &Delayed{remote: r, alone: NewLocal(now), every: every, now: now, log: log,
		cells: map[string]*delayed{}, dirty: map[string]*delayed{}}
}

// Take is of Store.
func (d *Delayed) Take(ctx context.Context, key []byte, q Quota, cost int64) (State, error) {
	if q.Window <= d.every {
		return d.remote.Take(ctx, key, q, cost)
	}
	c := d.cell(key, q)
	if c == nil {
		return d.remote.Take(ctx, key, q, cost)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := d.now()
	if c.quota = q; !c.known || !now.Before(c.until) {
		d.ask(ctx, key, c)
		now = d.now()
	}
	s := State{Left: c.left - c.untold - cost, Reset: max(0, c.until.Sub(now))}
	if s.Left < 0 {
		s.Rejected = true
		return s, nil
	}
	c.untold += cost
	d.mark(key, c)
	return s, nil
}

// cell is the cell of key; nil when there is no room.
func (d *Delayed) cell(key []byte, q Quota) *delayed {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.cells[string(key)]
	if c != nil || d.closed {
		return c
	}
	now, n := d.now(), 0
	for other, c := range d.cells {
		if c.ended(now) {
			delete(d.cells, other)
		}
		if n++; n == looked {
			break
		}
	}
	if len(d.cells) < maxDelayed {
		c = &delayed{quota: q}
		d.cells[string(key)] = c
	}
	return c
}

// ask tells Redis what was used and learns where the key stands. c is locked.
func (d *Delayed) ask(ctx context.Context, key []byte, c *delayed) {
	t := d.tell(string(key), c)
	// An answer nobody waits for any more still has to be learned: it tells what was counted.
	result, err := d.remote.redis.Run(context.WithoutCancel(ctx), t.use.script(), t.use.call)
	if err = d.learn(&t, result, err); err != nil {
		d.log.Error("sync to redis failed, counting alone", "err", err)
	}
}

// telling is what Redis is told about one key.
type telling struct {
	key  string
	cell *delayed
	told int64
	use  use
}

// tell prepares what Redis is told. c is locked.
func (d *Delayed) tell(key string, c *delayed) telling {
	told := c.untold
	c.untold, c.left = 0, c.left-told
	return telling{key, c, told, d.remote.use([]byte(key), c.quota, told, true)}
}

// learn takes over Redis's answer, or counts alone and returns why. The cell is locked.
func (d *Delayed) learn(t *telling, r redisx.Result, err error) error {
	var s State
	if err == nil {
		s, err = t.use.state(r)
	}
	if err != nil {
		s, _ = d.alone.Take(context.Background(), []byte(t.key), t.cell.quota, t.told) // it does not fail
		if s.Rejected {
			s.Left = 0
		}
	}
	t.cell.known, t.cell.left, t.cell.until = true, s.Left, d.now().Add(s.Reset)
	return err
}

// mark has c told to Redis when the time has come.
func (d *Delayed) mark(key []byte, c *delayed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirty[string(key)] != nil {
		return
	}
	d.dirty[string(key)] = c
	if d.timer == nil && !d.closed {
		d.work.Add(1)
		d.timer = time.AfterFunc(d.every, func() {
			defer d.work.Done()
			d.mu.Lock()
			d.timer = nil
			d.mu.Unlock()
			d.flush(context.Background())
		})
	}
}

// flush tells Redis about everything that is dirty.
func (d *Delayed) flush(ctx context.Context) {
	d.mu.Lock()
	dirty := d.dirty
	d.dirty = map[string]*delayed{}
	d.mu.Unlock()
	var chunks [2][]telling // fixed, sliding
	for key, c := range dirty {
		c.mu.Lock()
		t := d.tell(key, c)
		c.mu.Unlock()
		kind := 0
		if t.use.quota.Sliding {
			kind = 1
		}
		if chunks[kind] = append(chunks[kind], t); len(chunks[kind]) == flushChunk {
			d.exchange(ctx, chunks[kind])
			chunks[kind] = nil
		}
	}
	for _, c := range chunks {
		d.exchange(ctx, c)
	}
}

// ended says that c is of no use any more; one that is in use is not.
func (c *delayed) ended(now time.Time) bool {
	if !c.mu.TryLock() {
		return false
	}
	defer c.mu.Unlock()
	return c.untold == 0 && !now.Before(c.until)
}

func (d *Delayed) exchange(ctx context.Context, ts []telling) {
	if len(ts) == 0 {
		return
	}
	calls := make([]redisx.Call, len(ts))
	for i := range ts {
		calls[i] = ts[i].use.call
	}
	var first error
	d.remote.redis.RunAll(ctx, ts[0].use.script(), calls, func(i int, r redisx.Result, err error) {
		t := &ts[i]
		t.cell.mu.Lock()
		defer t.cell.mu.Unlock()
		if err = d.learn(t, r, err); first == nil {
			first = err
		}
	})
	if first != nil {
		d.log.Error("sync to redis failed, counting alone", "err", first)
	}
}

// stop tells Redis what it does not know yet.
func (d *Delayed) stop() {
	d.mu.Lock()
	d.closed = true
	if d.timer != nil && d.timer.Stop() {
		d.work.Done()
	}
	d.mu.Unlock()
	d.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	d.flush(ctx)
}
