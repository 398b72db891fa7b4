// Package memory keeps the rows of the etcd adapter in a B-tree, and with a
// file also across restarts. It does not know etcd's protocol.
package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"sluice/configcenter/adapter/mvcc"
)

// Store is a mvcc.Backend of one process.
type Store struct {
	id  uint64
	log *journal // nil: nothing is kept

	mu     sync.RWMutex
	st     mvcc.State
	keys   btree.Map[string, []mvcc.Row] // the rows of each key, oldest first
	rows   []mvcc.Row                    // all rows, oldest first
	bytes  int64
	leases map[int64]*lease
	moved  chan struct{} // closed when the revision moves
}

type lease struct {
	mvcc.Lease
	keys btree.Set[string]
}

// New makes an empty store that ends with the process.
func New() *Store {
	var id [8]byte
	rand.Read(id[:])
	return &Store{id: binary.LittleEndian.Uint64(id[:]), st: mvcc.State{Rev: 1, Compact: -1},
		leases: map[int64]*lease{}, moved: make(chan struct{})}
}

// ID is random, and kept in the file.
func (s *Store) ID() uint64 { return s.id }

// View holds up writers until f returns.
func (s *Store) View(_ context.Context, f func(mvcc.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(&tx{s: s})
}

// Update holds up everybody until f returns and the file is written.
func (s *Store) Update(_ context.Context, f func(mvcc.WriteTx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &tx{s: s}
	err := f(t)
	if err == nil && s.log != nil && !t.rec.empty() {
		t.rec.Rev = s.st.Rev
		if len(t.rec.Rows) > 0 {
			t.rec.Rev++
		}
		err = s.log.write(&t.rec)
	}
	if err != nil {
		t.undo()
		return err
	}
	if len(t.rec.Rows) > 0 {
		s.st.Rev++
		close(s.moved)
		s.moved = make(chan struct{})
	}
	if t.rec.Compact != nil {
		s.compact(*t.rec.Compact)
		if s.log != nil {
			// The compaction is in the file already. When it cannot be made
			// smaller it stays as it is, until the next one.
			_ = s.log.replace(s.everything())
		}
	}
	return nil
}

// Wait returns when the revision has moved, or with the context's error.
func (s *Store) Wait(ctx context.Context, rev int64) error {
	s.mu.RLock()
	now, moved := s.st.Rev, s.moved
	s.mu.RUnlock()
	if now > rev {
		return nil
	}
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Defragment has nothing to do: compaction gives space back already.
func (s *Store) Defragment(context.Context) error { return nil }

// Close closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return nil
	}
	return s.log.close()
}

// tx is one view or update; s.mu is held.
type tx struct {
	s    *Store
	rec  record   // what it wrote
	back []func() // takes it back, last first
}

func (t *tx) undo() {
	for _, f := range slices.Backward(t.back) {
		f()
	}
}

func (t *tx) State() mvcc.State { return t.s.st }

// at returns the row of a key that is seen at a revision.
func at(rows []mvcc.Row, rev int64) (mvcc.Row, bool) {
	i := len(rows) - 1
	if i >= 0 && rows[i].Rev > rev {
		i, _ = slices.BinarySearchFunc(rows, rev+1, func(r mvcc.Row, rev int64) int { return cmp.Compare(r.Rev, rev) })
		i--
	}
	if i < 0 || rows[i].Deleted {
		return mvcc.Row{}, false
	}
	return rows[i], true
}

// each calls f for what is in the span at a revision until f returns false.
func (t *tx) each(s mvcc.Span, rev int64, f func(mvcc.Row) bool) {
	t.s.keys.Ascend(s.From, func(key string, rows []mvcc.Row) bool {
		if !s.Open && key >= s.To {
			return false
		}
		r, ok := at(rows, rev)
		return !ok || f(r)
	})
}

func (t *tx) Range(s mvcc.Span, rev int64, limit int, _ bool) (rows []mvcc.Row, err error) {
	t.each(s, rev, func(r mvcc.Row) bool {
		rows = append(rows, r)
		return len(rows) != limit
	})
	return rows, nil
}

func (t *tx) Count(s mvcc.Span, rev int64) (n int64, err error) {
	t.each(s, rev, func(mvcc.Row) bool { n++; return true })
	return n, nil
}

func (t *tx) Since(rev int64) ([]mvcc.Row, error) {
	i, _ := slices.BinarySearchFunc(t.s.rows, rev+1, func(r mvcc.Row, rev int64) int { return cmp.Compare(r.Rev, rev) })
	var p mvcc.Page
	for _, r := range t.s.rows[i:] {
		if !p.Add(r) {
			break
		}
	}
	return p.Rows, nil
}

func (t *tx) Leases(id int64) (ls []mvcc.Lease, err error) {
	for _, l := range t.s.leases {
		if id == 0 || id == l.ID {
			ls = append(ls, l.Lease)
		}
	}
	return ls, nil
}

func (t *tx) LeaseKeys(id int64) (keys [][]byte, err error) {
	if l := t.s.leases[id]; l != nil {
		l.keys.Scan(func(k string) bool { keys = append(keys, []byte(k)); return true })
	}
	return keys, nil
}

func (t *tx) Expired(now time.Time) (ids []int64, err error) {
	for id, l := range t.s.leases {
		if l.Expires.Before(now) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (t *tx) Size() (int64, error) { return t.s.bytes, nil }

func (t *tx) Append(r mvcc.Row) error {
	s := t.s
	rows, _ := s.keys.Get(string(r.Key))
	n := len(rows)
	t.move(string(r.Key), rows, &r)
	s.keys.Set(string(r.Key), append(rows, r))
	s.rows = append(s.rows, r)
	s.bytes += size(&r)
	t.rec.Rows = append(t.rec.Rows, r)
	t.back = append(t.back, func() {
		s.rows = s.rows[:len(s.rows)-1]
		s.bytes -= size(&r)
		if n == 0 {
			s.keys.Delete(string(r.Key))
			return
		}
		s.keys.Set(string(r.Key), rows[:n:n])
	})
	return nil
}

func size(r *mvcc.Row) int64 { return int64(len(r.Key)+len(r.Value)) + 64 }

// move takes the key from the lease that it hung on to that of its new row.
func (t *tx) move(key string, rows []mvcc.Row, r *mvcc.Row) {
	var old *lease
	if n := len(rows); n > 0 {
		old = t.s.leases[rows[n-1].Lease]
	}
	now := t.s.leases[r.Lease]
	if old == now {
		return
	}
	if old != nil {
		old.keys.Delete(key)
		t.back = append(t.back, func() { old.keys.Insert(key) })
	}
	if now != nil {
		now.keys.Insert(key)
		t.back = append(t.back, func() { now.keys.Delete(key) })
	}
}

func (t *tx) Compact(rev int64) error {
	t.rec.Compact = &rev
	return nil
}

func (t *tx) PutLease(l mvcc.Lease) error {
	old := t.s.leases[l.ID]
	made := &lease{Lease: l}
	if old != nil {
		made.keys = old.keys
	}
	t.s.leases[l.ID] = made
	t.rec.Leases = append(t.rec.Leases, l)
	t.restore(l.ID, old)
	return nil
}

func (t *tx) DeleteLease(id int64) error {
	old := t.s.leases[id]
	delete(t.s.leases, id)
	t.rec.Ended = append(t.rec.Ended, id)
	t.restore(id, old)
	return nil
}

func (t *tx) restore(id int64, old *lease) {
	t.back = append(t.back, func() {
		delete(t.s.leases, id)
		if old != nil {
			t.s.leases[id] = old
		}
	})
}

// compact drops the rows that nobody can see at rev or later. What was written
// at rev itself stays: a watch may start there.
func (s *Store) compact(rev int64) {
	s.st.Compact = rev
	gone := func(rows []mvcc.Row, i int) bool {
		if i+1 < len(rows) && rows[i+1].Rev <= rev {
			return true
		}
		return rows[i].Deleted && rows[i].Rev < rev
	}
	old := s.keys
	s.keys = btree.Map[string, []mvcc.Row]{}
	s.rows, s.bytes = nil, 0
	old.Scan(func(key string, rows []mvcc.Row) bool {
		var kept []mvcc.Row
		for i := range rows {
			if !gone(rows, i) {
				kept = append(kept, rows[i])
				s.bytes += size(&rows[i])
			}
		}
		if len(kept) > 0 {
			s.keys.Set(key, kept)
			s.rows = append(s.rows, kept...)
		}
		return true
	})
	slices.SortFunc(s.rows, func(a, b mvcc.Row) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Sub, b.Sub))
	})
}
