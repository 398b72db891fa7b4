package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice/configcenter/adapter/index"
	"sluice/configcenter/adapter/mvcc"
)

// reads lets all who want to know where the database stands ask together.
type reads struct {
	mu   sync.Mutex
	next *question // not yet asked; nil: nobody waits
	busy bool      // one is being asked
}

type question struct {
	done chan struct{}
	err  error // once done
}

// refresh returns when ask has been called, and answered, after refresh was.
func (r *reads) refresh(ctx context.Context, ask func() error) error {
	r.mu.Lock()
	q := r.next
	if q == nil {
		q = &question{done: make(chan struct{})}
		r.next = q
	}
	if !r.busy {
		r.busy = true
		go r.run(ask) // ends when nobody waits
	}
	r.mu.Unlock()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return mvcc.ErrTimeout
	}
}

func (r *reads) run(ask func() error) {
	for {
		r.mu.Lock()
		q := r.next
		r.next, r.busy = nil, q != nil
		r.mu.Unlock()
		if q == nil {
			return
		}
		q.err = ask()
		close(q.done)
	}
}

// asking tries again what gave way to others, and once anything else: the
// first try may have had a connection that was dead.
func (s *Store) asking(ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for try := 1; ; try++ {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		err = s.d.Fault(err)
		if ctx.Err() != nil || errors.Is(err, errOther) || try > 1 && !errors.Is(err, ErrAgain) {
			return late(ctx, err)
		}
		pause(ctx, time.Duration(try)*time.Millisecond)
	}
}

// late is the error when the store's own patience has ended.
func late(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %v", mvcc.ErrTimeout, err)
	}
	return err
}

// position is where the database stands. All of it only grows.
type position struct {
	mvcc.State
	leases int64 // changes of leases
	floor  int64 // of leases that ended no more is known than up to this change
}

// errOther is about a database that lost what it had acknowledged.
var errOther = errors.New("this is no longer the database that it was")

// scan reads a row of stateQuery, and sees whether it can be true: it must not
// be behind what was known before it was asked for, nor ever have been.
func (s *Store) scan(row *sql.Row, known int64) (p position, err error) {
	var id int64
	if err := row.Scan(&id, &p.Rev, &p.Compact, &p.leases, &p.floor, &p.Notes); err != nil {
		return p, err
	}
	switch {
	case uint64(id) != s.id:
		err = fmt.Errorf("%w: store %x took the place of %x; start anew to read it", errOther, uint64(id), s.id)
	case p.Rev < known:
		err = fmt.Errorf("%w: it went back from revision %d to %d; start anew to read it", errOther, known, p.Rev)
	}
	if err != nil {
		s.lost.CompareAndSwap(nil, &err)
	}
	if lost := s.lost.Load(); lost != nil {
		return p, *lost
	}
	return p, nil
}

// news says whether the index lacks something that the database has.
func (s *Store) news(p position) bool {
	st := s.x.State()
	return p.Rev > st.Rev || p.Compact > st.Compact || p.Notes > st.Notes || p.leases > s.leases.Load()
}

// refresh makes the index have what was written before it was called.
func (s *Store) refresh(ctx context.Context) error {
	return s.reads.refresh(ctx, func() error { return s.asking(s.read) })
}

// read makes the index have what was written before it was called.
func (s *Store) read(ctx context.Context) error {
	known := s.x.State().Rev
	p, err := s.scan(s.q.state.QueryRowContext(ctx), known)
	if err != nil || !s.news(p) {
		return err
	}
	if p.Compact > known { // everything is to be read, which may take longer than a request may
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 10*patience)
		defer cancel()
	}
	return s.catchUp(ctx)
}

// catchUp reads what the index lacks.
func (s *Store) catchUp(ctx context.Context) error {
	known, leases := s.x.State().Rev, s.leases.Load() // before the transaction, which may be of the time when it begins
	tx, err := s.d.Read.BeginTx(ctx, &s.d.Snapshot)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	p, err := s.scan(tx.StmtContext(ctx, s.q.state).QueryRowContext(ctx), known)
	if err != nil {
		return err
	}
	t, err := s.tail(ctx, p, known, leases, tx.StmtContext(ctx, s.q.tail), tx.StmtContext(ctx, s.q.leases), tx.StmtContext(ctx, s.q.notes))
	if err != nil {
		return err
	}
	s.apply.Lock()
	defer s.apply.Unlock()
	s.take(t)
	return nil
}

// tailed is what a database has above a revision.
type tailed struct {
	position
	index.News
	all bool // it is everything: rows between may be gone
}

// tail reads what is above the revision and the change of leases. When rows
// that are not known may be gone, it reads everything.
func (s *Store) tail(ctx context.Context, p position, known, leases int64, rows, changed, notes *sql.Stmt) (*tailed, error) {
	t := &tailed{position: p}
	t.all = p.Compact > known || known <= 1
	if t.all {
		known = 0
	}
	if t.all || leases < p.floor {
		leases, t.Whole = 0, true
	}
	var err error
	if p.Rev > known {
		if t.Rows, err = readRows(ctx, rows, known); err != nil {
			return nil, err
		}
	}
	if p.leases > leases {
		if err = t.readLeases(ctx, changed, leases); err != nil {
			return nil, err
		}
	}
	if p.Notes > s.x.State().Notes {
		if t.Notes, err = readNotes(ctx, notes); err != nil {
			return nil, err
		}
	}
	if t.all {
		known = max(1, p.Compact) // below, rows may be gone
	}
	t.News.State = p.State
	return t, gapless(t.Rows, known, p.Rev)
}

// gapless says whether the rows are of every revision above one, up to another
// and no further. They are not when the database showed rows and state of different times.
func gapless(rows []*mvcc.Row, above, to int64) error {
	for _, r := range rows {
		if r.Rev > above+1 {
			break
		}
		above = max(above, r.Rev)
	}
	if above != to {
		return fmt.Errorf("%w: revision %d is not seen", ErrAgain, above+1)
	}
	return nil
}

func readRows(ctx context.Context, q *sql.Stmt, above int64) (all []*mvcc.Row, err error) {
	rows, err := q.QueryContext(ctx, above)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, gone := new(mvcc.Row), 0
		if err := rows.Scan(&r.Rev, &r.Sub, &r.Key, &r.Value, &r.Create, &r.Version, &r.Lease, &gone); err != nil {
			return nil, err
		}
		if r.Deleted = gone != 0; r.Deleted {
			r.Value = nil
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// readNotes reads all notes: there are few.
func readNotes(ctx context.Context, q *sql.Stmt) (map[string][]byte, error) {
	rows, err := q.QueryContext(ctx)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string][]byte{}
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		all[name] = value
	}
	return all, rows.Err()
}

func (t *tailed) readLeases(ctx context.Context, q *sql.Stmt, above int64) error {
	rows, err := q.QueryContext(ctx, above)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, ttl, expires int64
		if err := rows.Scan(&id, &ttl, &expires); err != nil {
			return err
		}
		if ttl == 0 {
			t.Ended = append(t.Ended, id)
			continue
		}
		t.Leases = append(t.Leases, mvcc.Lease{ID: id, TTL: time.Duration(ttl) * time.Second, Expires: time.UnixMilli(expires)})
	}
	return rows.Err()
}

// take puts into the index what was read, unless that has become old; s.apply
// is held.
func (s *Store) take(t *tailed) {
	st := s.x.State()
	if t.Rev < st.Rev || t.Compact < st.Compact || t.position.Notes < st.Notes || t.leases < s.leases.Load() {
		return
	}
	if t.all {
		s.whole.Lock()
		s.x.Reset(t.News)
		s.whole.Unlock()
	} else {
		s.x.Apply(t.News)
	}
	s.leases.Store(t.leases)
	if t.Compact > st.Compact {
		s.compacted(false)
	}
}
