// Package memory keeps the rows of the etcd adapter in a B-tree, and with a
// file also across restarts. It does not know etcd's protocol.
package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
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
	next   *batch // takes further updates; nil: there is none that waits
	last   *batch // of the last update that wrote; nil: there was none
	st     mvcc.State
	keys   btree.Map[string, []mvcc.Row] // the rows of each key, oldest first
	rows   []mvcc.Row                    // all rows, oldest first
	bytes  int64
	leases map[int64]*lease
	notes  map[string][]byte
	moved  chan struct{} // closed when the revision moves
}

type lease struct {
	mvcc.Lease
	keys *btree.Set[string] // the lease before and after it was kept alive share it
}

// New makes an empty store that ends with the process.
func New() *Store {
	var id [8]byte
	rand.Read(id[:])
	return &Store{id: binary.LittleEndian.Uint64(id[:]), st: mvcc.State{Rev: 1, Compact: -1},
		leases: map[int64]*lease{}, notes: map[string][]byte{}, moved: make(chan struct{})}
}

// ID is random, and kept in the file.
func (s *Store) ID() uint64 { return s.id }

// View holds up writers until f returns. What it saw is on the disk when View
// returns.
func (s *Store) View(_ context.Context, f func(mvcc.Tx) error) error {
	s.mu.RLock()
	err := f(&tx{s: s})
	b := s.last
	s.mu.RUnlock()
	if failed := b.wait(); failed != nil {
		return failed
	}
	return err
}

// Freeze holds up everybody while it makes a copy that shares its rows with the
// store. What f sees is on the disk.
func (s *Store) Freeze(_ context.Context, f func(mvcc.Tx) error) error {
	s.mu.Lock()
	n := len(s.rows)
	y := &Store{st: s.st, keys: *s.keys.Copy(), rows: s.rows[:n:n], bytes: s.bytes, leases: map[int64]*lease{}, notes: maps.Clone(s.notes)}
	for id, l := range s.leases {
		y.leases[id] = &lease{l.Lease, l.keys.Copy()}
	}
	b := s.last
	s.mu.Unlock()
	if err := b.wait(); err != nil { // until then rows may be taken back
		return err
	}
	return f(&tx{s: y})
}

// Update holds up everybody until f returns, and returns when the file is
// written: together with what other updates wrote while the disk was busy.
func (s *Store) Update(_ context.Context, f func(mvcc.WriteTx) error) error {
	s.mu.Lock()
	t := &tx{s: s}
	err := f(t)
	if err == nil && len(t.rec.Rows) > 0 {
		s.st.Rev++
		t.back = append(t.back, func() { s.st.Rev-- })
	}
	b, first := s.last, false
	if err == nil && s.log != nil && !t.rec.empty() {
		t.rec.Rev = s.st.Rev
		b, first, err = s.queue(t)
	}
	if err != nil {
		t.undo()
	}
	if err == nil && s.log == nil {
		s.announce(t)
	}
	s.mu.Unlock()
	if first {
		s.commit(b)
	}
	if failed := b.wait(); failed != nil {
		return failed
	}
	if err != nil || t.rec.Compact == nil {
		return err
	}
	s.mu.Lock()
	s.compact(*t.rec.Compact)
	s.mu.Unlock()
	return nil
}

// announce wakes who waits for a revision. s.mu is held.
func (s *Store) announce(t *tx) {
	if len(t.rec.Rows) > 0 {
		close(s.moved)
		s.moved = make(chan struct{})
	}
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

// Close closes the file, after the update that is being written.
func (s *Store) Close() error {
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
	if id != 0 {
		if l := t.s.leases[id]; l != nil {
			ls = append(ls, l.Lease)
		}
		return ls, nil
	}
	for _, l := range t.s.leases {
		ls = append(ls, l.Lease)
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

func (t *tx) Note(name string) ([]byte, error) { return t.s.notes[name], nil }

func (t *tx) Size() (int64, error) { return t.s.bytes, nil }

func (t *tx) Append(r mvcc.Row) error {
	s := t.s
	key := string(r.Key)
	rows, _ := s.keys.Get(key)
	t.move(key, rows, &r)
	s.keys.Set(key, append(rows, r))
	s.rows = append(s.rows, r)
	s.bytes += size(&r)
	t.rec.Rows = append(t.rec.Rows, r)
	t.back = append(t.back, func() {
		s.rows = s.rows[:len(s.rows)-1]
		s.bytes -= size(&r)
		rows, _ := s.keys.Get(key)
		if n := len(rows) - 1; n > 0 {
			s.keys.Set(key, rows[:n:n])
		} else {
			s.keys.Delete(key)
		}
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

// Compact shuts the old revisions off; Update drops their rows when that is
// on the disk.
func (t *tx) Compact(rev int64) error {
	old := t.s.st.Compact
	t.s.st.Compact, t.rec.Compact = rev, &rev
	t.back = append(t.back, func() { t.s.st.Compact = old })
	return nil
}

func (t *tx) PutLease(l mvcc.Lease) error {
	old := t.s.leases[l.ID]
	made := &lease{Lease: l}
	if old != nil {
		made.keys = old.keys
	} else {
		made.keys = new(btree.Set[string])
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

func (t *tx) PutNote(name string, value []byte) error {
	s := t.s
	old := s.notes[name]
	s.notes[name] = value
	s.st.Notes++
	if t.rec.Notes == nil {
		t.rec.Notes = map[string][]byte{}
	}
	t.rec.Notes[name] = value
	t.back = append(t.back, func() {
		s.notes[name] = old
		s.st.Notes--
	})
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
	gone := func(rows []mvcc.Row, i int) bool {
		return rows[i].Rev < rev && (rows[i].Deleted || i+1 < len(rows) && rows[i+1].Rev <= rev)
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
