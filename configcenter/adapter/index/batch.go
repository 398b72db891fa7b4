package index

import (
	"maps"
	"slices"
	"time"

	"sluice/configcenter/adapter/mvcc"
)

// Batch is a number of updates that are kept for good together. There is one
// at a time, of one goroutine; it ends with Publish or Undo.
type Batch struct {
	x      *Index
	st     mvcc.State // after the updates so far
	rows   []*mvcc.Row
	bytes  int64
	leases map[int64]*mvcc.Lease // nil: ended
	notes  map[string][]byte
}

// Rows is how many rows the batch has.
func (b *Batch) Rows() int { return len(b.rows) }

// Bytes is about what the batch's rows take.
func (b *Batch) Bytes() int { return int(b.bytes) }

// Begin starts a batch.
func (x *Index) Begin() *Batch {
	return &Batch{x: x, st: x.State(), leases: map[int64]*mvcc.Lease{}, notes: map[string][]byte{}}
}

// Update runs f on what was published and what the batch has so far. When f
// fails, nothing of what it wrote stays.
func (b *Batch) Update(f func(mvcc.WriteTx) error) error {
	u := &update{b: b, st: b.st, rows: len(b.rows), leases: map[int64]*mvcc.Lease{}, notes: map[string][]byte{}}
	if err := f(u); err != nil {
		b.takeBack(u.rows)
		return err
	}
	if len(b.rows) > u.rows {
		u.st.Rev++
	}
	b.st = u.st
	maps.Copy(b.leases, u.leases)
	maps.Copy(b.notes, u.notes)
	return nil
}

// takeBack removes the rows that came after the first n.
func (b *Batch) takeBack(n int) {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	for _, r := range b.rows[n:] {
		b.x.takeBack()
		b.bytes -= size(r)
	}
	b.rows = b.rows[:n]
}

// Changes is what the batch adds to the store.
func (b *Batch) Changes() News {
	n := News{State: b.st, Rows: b.rows, Notes: b.notes}
	for _, id := range slices.Sorted(maps.Keys(b.leases)) {
		if l := b.leases[id]; l != nil {
			n.Leases = append(n.Leases, *l)
		} else {
			n.Ended = append(n.Ended, id)
		}
	}
	return n
}

// Publish shows the batch to readers.
func (b *Batch) Publish() {
	n := b.Changes()
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	for _, r := range b.rows {
		b.x.unhang(r)
	}
	b.x.lease(&n)
	maps.Copy(b.x.notes, b.notes)
	b.x.publish(b.st)
}

// Undo removes all that the batch wrote.
func (b *Batch) Undo() { b.takeBack(0) }

// update is one update of a batch.
type update struct {
	b      *Batch
	st     mvcc.State // before it, but for the compaction
	rows   int        // of the batch before it
	leases map[int64]*mvcc.Lease
	notes  map[string][]byte
}

// rev is the revision at which the update reads: it sees its own rows.
func (u *update) rev() int64 {
	if len(u.b.rows) > u.rows {
		return u.st.Rev + 1
	}
	return u.st.Rev
}

func (u *update) State() mvcc.State { return u.st }

func (u *update) Range(s mvcc.Span, rev int64, limit int, _ bool) ([]mvcc.Row, error) {
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.span(s, rev, limit), nil
}

func (u *update) Count(s mvcc.Span, rev int64) (int64, error) {
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.count(s, rev), nil
}

func (u *update) Since(rev int64) ([]mvcc.Row, error) {
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.since(rev, u.rev()), nil
}

func (u *update) LeaseKeys(id int64) ([][]byte, error) {
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.hangs(id, u.rev()), nil
}

func (u *update) Size() (int64, error) {
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.bytes, nil
}

// Leases returns those that the batch and the update leave.
func (u *update) Leases(id int64) (ls []mvcc.Lease, err error) {
	u.b.x.mu.RLock()
	ls = u.b.x.granted(id)
	u.b.x.mu.RUnlock()
	for _, changed := range []map[int64]*mvcc.Lease{u.b.leases, u.leases} {
		ls = slices.DeleteFunc(ls, func(l mvcc.Lease) bool { _, ok := changed[l.ID]; return ok })
		for _, l := range changed {
			if l != nil && (id == 0 || id == l.ID) {
				ls = append(ls, *l)
			}
		}
	}
	return ls, nil
}

func (u *update) Expired(now time.Time) (ids []int64, err error) {
	ls, err := u.Leases(0)
	for _, l := range ls {
		if l.Expires.Before(now) {
			ids = append(ids, l.ID)
		}
	}
	return ids, err
}

func (u *update) Append(r mvcc.Row) error {
	u.b.rows = append(u.b.rows, &r)
	u.b.bytes += size(&r)
	u.b.x.mu.Lock()
	defer u.b.x.mu.Unlock()
	u.b.x.append(&r)
	return nil
}

func (u *update) Compact(rev int64) error {
	u.st.Compact = rev
	return nil
}

func (u *update) PutLease(l mvcc.Lease) error {
	u.leases[l.ID] = &l
	return nil
}

func (u *update) DeleteLease(id int64) error {
	u.leases[id] = nil
	return nil
}

// Note returns what the update, the batch or somebody before put.
func (u *update) Note(name string) ([]byte, error) {
	for _, notes := range []map[string][]byte{u.notes, u.b.notes} {
		if v, ok := notes[name]; ok {
			return v, nil
		}
	}
	u.b.x.mu.RLock()
	defer u.b.x.mu.RUnlock()
	return u.b.x.notes[name], nil
}

func (u *update) PutNote(name string, value []byte) error {
	u.notes[name] = value
	u.st.Notes++
	return nil
}
