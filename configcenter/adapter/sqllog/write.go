package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"sluice/configcenter/adapter/index"
	"sluice/configcenter/adapter/mvcc"
)

// op is one update that waits for the writer.
type op struct {
	f    func(mvcc.WriteTx) error
	done chan error // gets the result

	mu   sync.Mutex // held while f runs
	left bool       // who asked has gone: f must not run any more
	err  error      // what f returned
}

// run runs f in the batch, unless nobody waits for it any more.
func (o *op) run(b *index.Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.left {
		o.err = b.Update(o.f)
	}
}

func (o *op) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
}

// Update lets the writer run f, together with what others want to write now.
func (s *Store) Update(ctx context.Context, f func(mvcc.WriteTx) error) error {
	o := &op{f: f, done: make(chan error, 1)}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case s.queue <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return mvcc.ErrTimeout
	case <-s.done:
		return errClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		o.leave()
		return ctx.Err()
	case <-t.C:
		o.leave()
		return mvcc.ErrTimeout
	}
}

// Bounds of what is written in one transaction.
const (
	batchOps   = 512
	batchRows  = 4096
	batchBytes = 4 << 20
)

// writer carries out updates, several in one transaction. It belongs to one
// goroutine.
type writer struct {
	*Store
	ops []*op // the next ones
}

// run carries out updates until ctx ends.
func (w *writer) run(ctx context.Context) {
	for {
		select {
		case o := <-w.queue:
			w.ops = append(w.ops, o)
		case <-ctx.Done():
			return
		}
		for len(w.ops) > 0 {
			n, err := w.several(ctx)
			for _, o := range w.ops[:n] {
				if err != nil {
					o.done <- err
				} else {
					o.done <- o.err
				}
			}
			w.ops = slices.Delete(w.ops, 0, n)
		}
	}
}

// gather takes those updates that wait by now.
func (w *writer) gather() {
	for len(w.ops) < batchOps {
		select {
		case o := <-w.queue:
			w.ops = append(w.ops, o)
		default:
			return
		}
	}
}

// tries is how often a transaction is begun anew after an error that tells
// nothing: the connection may have been dead.
const tries = 3

// several carries out the first of the updates, in one transaction, and returns
// how many it were. The error is of all of them.
func (w *writer) several(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	most, wait := batchOps, time.Millisecond
	for try := 1; ; try++ {
		var again bool
		if n, again, err = w.transact(ctx, most); err == nil {
			return n, nil
		}
		if errors.Is(err, errBehind) {
			if err = w.refresh(ctx); err == nil {
				continue
			}
		}
		err = w.d.Fault(err)
		unfit := errors.Is(err, mvcc.ErrTooLarge) || errors.Is(err, mvcc.ErrNoSpace)
		switch {
		case unfit && n > 1:
			most = 1 // the others may fit
			continue
		case unfit || errors.Is(err, errOther) || ctx.Err() != nil:
			return n, late(ctx, err)
		case !errors.Is(err, ErrAgain) && (!again || try >= tries):
			return n, err
		}
		pause(ctx, wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// transact tries it once, with at most as many. again says that for certain
// nothing happened.
func (w *writer) transact(ctx context.Context, most int) (n int, again bool, err error) {
	tx, err := w.d.Write.BeginTx(ctx, &sql.TxOptions{Isolation: w.d.Isolation})
	if err != nil {
		return len(w.ops), true, err
	}
	defer tx.Rollback() // does nothing after a commit
	x := &writing{s: w.Store, ctx: ctx, tx: tx}
	t, err := x.lock()
	if err != nil {
		return len(w.ops), true, err
	}
	w.gather()
	w.apply.Lock()
	defer w.apply.Unlock()
	if t != nil {
		w.take(t)
	}
	b := w.x.Begin()
	for n < min(most, len(w.ops)) && b.Bytes() < batchBytes && b.Rows() < batchRows {
		w.ops[n].run(b)
		n++
	}
	c := b.Changes()
	if x.nothing(&c) {
		return n, false, nil
	}
	if err := x.keep(&c); err != nil {
		b.Undo()
		return n, true, err
	}
	if err := tx.Commit(); err != nil {
		b.Undo()
		return n, false, err
	}
	b.Publish()
	w.leases.Store(x.p.leases)
	if c.State.Compact > x.before.Compact {
		w.compacted(true)
	}
	return n, false, nil
}

// errBehind says that the index lacks so much that it is to be made anew, which
// is not done while other writers wait.
var errBehind = errors.New("the writer is behind the compaction")

// writing is one transaction of the writer, in which the state is locked.
type writing struct {
	s      *Store
	ctx    context.Context
	tx     *sql.Tx
	before position
	p      position // as it is to become
}

// lock keeps other writers out, and reads what they wrote; nil: nothing.
func (w *writing) lock() (*tailed, error) {
	known, leases := w.s.x.State().Rev, w.s.leases.Load()
	var err error
	w.p, err = w.s.scan(w.tx.StmtContext(w.ctx, w.s.q.lock).QueryRowContext(w.ctx), known)
	w.before = w.p
	switch {
	case err != nil || !w.s.news(w.p):
		return nil, err
	case w.p.Compact > known:
		return nil, errBehind
	}
	return w.s.tail(w.ctx, w.p, known, leases, w.tx.StmtContext(w.ctx, w.s.q.lockTail), w.tx.StmtContext(w.ctx, w.s.q.lockLeases), w.tx.StmtContext(w.ctx, w.s.q.lockNotes))
}

func (w *writing) nothing(c *index.News) bool {
	return len(c.Rows)+len(c.Leases)+len(c.Ended) == 0 && c.State == w.before.State
}

// purgeEvery is after how many changes of leases those that ended are removed.
const purgeEvery = 1000

// keep writes the changes.
func (w *writing) keep(c *index.News) error {
	w.p.State = c.State
	if err := w.rows(c.Rows); err != nil {
		return err
	}
	if len(c.Leases)+len(c.Ended) > 0 {
		w.p.leases++
		if err := w.leases(c); err != nil {
			return err
		}
	}
	if len(c.Ended) > 0 && w.p.leases-w.p.floor >= purgeEvery {
		w.p.floor = w.p.leases
		if _, err := w.tx.StmtContext(w.ctx, w.s.q.purge).ExecContext(w.ctx); err != nil {
			return err
		}
	}
	for name, value := range c.Notes {
		if _, err := w.tx.StmtContext(w.ctx, w.s.q.endNote).ExecContext(w.ctx, name); err != nil {
			return err
		}
		if _, err := w.tx.StmtContext(w.ctx, w.s.q.putNote).ExecContext(w.ctx, name, value); err != nil {
			return err
		}
	}
	if _, err := w.tx.StmtContext(w.ctx, w.s.q.move).ExecContext(w.ctx, w.p.Rev, w.p.Compact, w.p.leases, w.p.floor, w.p.Notes); err != nil {
		return err
	}
	if w.s.q.notify == nil || w.p.Rev == w.before.Rev {
		return nil
	}
	_, err := w.tx.StmtContext(w.ctx, w.s.q.notify).ExecContext(w.ctx, w.s.channel(), w.p.Rev)
	return err
}

func (w *writing) rows(rows []*mvcc.Row) error {
	return chunks(len(rows), func(from, n int) error {
		args := make([]any, 0, 8*n)
		bytes := 0
		for _, r := range rows[from : from+n] {
			gone := 0
			if r.Deleted {
				gone = 1
			}
			args = append(args, r.Rev, r.Sub, r.Key, notNil(r.Value), r.Create, r.Version, r.Lease, gone)
			bytes += len(r.Key) + len(r.Value)
		}
		if n > 1 && bytes > batchBytes/4 { // one by one, so that no statement is large
			for i := range n {
				if _, err := w.tx.StmtContext(w.ctx, w.s.q.insert[1]).ExecContext(w.ctx, args[8*i:8*i+8]...); err != nil {
					return err
				}
			}
			return nil
		}
		_, err := w.tx.StmtContext(w.ctx, w.s.q.insert[n]).ExecContext(w.ctx, args...)
		return err
	})
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (w *writing) leases(c *index.News) error {
	var args []any
	for _, l := range c.Leases {
		args = append(args, l.ID, w.p.leases, int64(l.TTL/time.Second), l.Expires.UnixMilli())
	}
	for _, id := range c.Ended {
		args = append(args, id, w.p.leases, 0, 0)
	}
	return chunks(len(args)/4, func(from, n int) error {
		_, err := w.tx.StmtContext(w.ctx, w.s.q.putLease[n]).ExecContext(w.ctx, args[4*from:4*(from+n)]...)
		return err
	})
}

// chunks calls f for parts of total, each as large as one of the sizes.
func chunks(total int, f func(from, n int) error) error {
	for from := 0; from < total; {
		for _, n := range sizes {
			if n <= total-from {
				if err := f(from, n); err != nil {
					return err
				}
				from += n
				break
			}
		}
	}
	return nil
}
