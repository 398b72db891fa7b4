package sqllog

import (
	"context"
	"database/sql"
	"time"

	"sluice/configcenter/adapter/index"
)

// compacted lets the rows be removed that are no longer needed, in the index
// and if wanted in the database. It does not wait for that.
func (s *Store) compacted(database bool) {
	for {
		select {
		case s.trims <- database:
			return
		case before := <-s.trims: // one more to be done together with this
			database = database || before
		}
	}
}

// trimPause is between two removals, so that writers come through.
const trimPause = 10 * time.Millisecond

// trim removes rows until ctx ends.
func (s *Store) trim(ctx context.Context) {
	for {
		var database bool
		select {
		case database = <-s.trims:
		case <-ctx.Done():
			return
		}
		s.whole.Lock()
		gone := s.x.Trim()
		s.whole.Unlock()
		if database {
			s.remove(ctx, gone)
		}
	}
}

// remove deletes rows from the database, oldest first: the row that ended a key
// must not go before those of the key. What cannot be deleted now stays until a
// process opens the store.
func (s *Store) remove(ctx context.Context, gone []index.Position) {
	failed := 0
	for ctx.Err() == nil && len(gone) > 0 && failed < 10 {
		n := min(len(gone), sizes[0])
		if s.removeSome(ctx, gone[:n]) != nil {
			failed++
			pause(ctx, time.Second)
			continue
		}
		gone, failed = gone[n:], 0
		pause(ctx, trimPause)
	}
}

func (s *Store) removeSome(ctx context.Context, gone []index.Position) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tx, err := s.d.Write.BeginTx(ctx, &sql.TxOptions{Isolation: s.d.Isolation})
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	err = chunks(len(gone), func(from, n int) error {
		args := make([]any, 0, 2*n)
		for _, p := range gone[from : from+n] {
			args = append(args, p.Rev, p.Sub)
		}
		_, err := tx.StmtContext(ctx, s.q.removeRows[n]).ExecContext(ctx, args...)
		return err
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}
