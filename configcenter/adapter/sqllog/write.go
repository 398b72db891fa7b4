package sqllog

import (
	"context"
	"database/sql"
	"errors"
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
	t := time.NewTimer(2 * patience)
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
	}
}

// Bounds of what is written in one transaction.
const (
	batchOps   = 512
	batchRows  = 4096
	batchBytes = 4 << 20
)

// write is the writer: it carries out updates until ctx ends.
func (s *Store) write(ctx context.Context) {
	for {
		var ops []*op
		select {
		case o := <-s.queue:
			ops = append(ops, o)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(ops) < batchOps; {
			select {
			case o := <-s.queue:
				ops = append(ops, o)
			default:
				more = false
			}
		}
		for len(ops) > 0 {
			n, err := s.several(ctx, ops)
			for _, o := range ops[:n] {
				if err != nil {
					o.done <- err
				} else {
					o.done <- o.err
				}
			}
			ops = ops[n:]
		}
	}
}

// tries is how often a transaction is begun anew after an error that tells
// nothing: the connection may have been dead.
const tries = 3

// several carries out the first of the updates, in one transaction, and returns
// how many it were. The error is of all of them.
func (s *Store) several(ctx context.Context, ops []*op) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wait := time.Millisecond
	for try := 1; ; try++ {
		var again bool
		if n, again, err = s.transact(ctx, ops); err == nil {
			return n, nil
		}
		err = s.d.Fault(err)
		known := errors.Is(err, mvcc.ErrTooLarge) || errors.Is(err, mvcc.ErrNoSpace) || errors.Is(err, errOther)
		if known && n > 1 && !errors.Is(err, errOther) {
			ops = ops[:1] // the others may fit; they come again
			continue
		}
		if known || ctx.Err() != nil || !errors.Is(err, ErrAgain) && (!again || try >= tries) {
			return n, late(ctx, err)
		}
		pause(ctx, wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// transact tries it once. again says that for certain nothing happened.
func (s *Store) transact(ctx context.Context, ops []*op) (n int, again bool, err error) {
	n = len(ops)
	tx, err := s.d.Write.BeginTx(ctx, &sql.TxOptions{Isolation: s.d.Isolation})
	if err != nil {
		return n, true, err
	}
	defer tx.Rollback() // does nothing after a commit
	w := &writing{s: s, ctx: ctx, tx: tx}
	known := s.x.State().Rev
	w.p, err = s.scan(tx.StmtContext(ctx, s.q.lock).QueryRowContext(ctx), known)
	if err != nil {
		return n, true, err
	}
	t, err := w.learn()
	if err != nil {
		return n, true, err
	}
	s.apply.Lock()
	defer s.apply.Unlock()
	if t != nil {
		s.take(t)
	}
	b := s.x.Begin()
	bytes := 0
	for n = 0; n < len(ops) && bytes < batchBytes && b.Rows() < batchRows; n++ {
		ops[n].run(b)
		bytes = b.Bytes()
	}
	c := b.Changes()
	if w.nothing(&c) {
		return n, false, nil
	}
	if err := w.keep(&c); err != nil {
		b.Undo()
		return n, true, err
	}
	if err := tx.Commit(); err != nil {
		b.Undo()
		return n, false, err
	}
	b.Publish()
	s.leases.Store(w.p.leases)
	if c.State.Compact > w.before.Compact {
		s.compacted(true)
	}
	return n, false, nil
}

// writing is one transaction of the writer, in which the state is locked.
type writing struct {
	s      *Store
	ctx    context.Context
	tx     *sql.Tx
	before position
	p      position // as it is to become
}

// learn reads what other processes wrote; nil: nothing.
func (w *writing) learn() (*tailed, error) {
	w.before = w.p
	if !w.s.news(w.p) {
		return nil, nil
	}
	return w.s.tail(w.ctx, w.p, w.s.x.State().Rev, w.s.leases.Load(), w.tx.StmtContext(w.ctx, w.s.q.lockTail), w.tx.StmtContext(w.ctx, w.s.q.lockLeases), w.tx.StmtContext(w.ctx, w.s.q.lockNotes))
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
