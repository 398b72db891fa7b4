// Package index keeps the etcd adapter's rows in memory: by key, to be read at
// any revision, and in the order in which they were written, to be followed.
// What is being written is already there, above the revision that readers see.
// It does not know where the rows are kept for good, nor etcd's protocol.
package index

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"sluice/configcenter/adapter/mvcc"
)

// Index is safe for concurrent use, but for what a Batch says.
type Index struct {
	mu     sync.RWMutex
	st     mvcc.State
	keys   btree.Map[string, []*mvcc.Row] // the rows of each key, oldest first
	rows   []*mvcc.Row                    // all rows, oldest first
	bytes  int64
	leases map[int64]mvcc.Lease
	hung   map[int64]*btree.Set[string] // at least the keys that hang on each lease
	notes  map[string][]byte
	moved  chan struct{} // closed when the revision moves
}

// New makes an index without rows that stands where a new store does.
func New() *Index {
	return &Index{st: mvcc.State{Rev: 1, Compact: -1}, leases: map[int64]mvcc.Lease{},
		hung: map[int64]*btree.Set[string]{}, notes: map[string][]byte{}, moved: make(chan struct{})}
}

// State is what readers see now.
func (x *Index) State() mvcc.State {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.st
}

// View runs f on what was published; writers wait until it returns.
func (x *Index) View(f func(mvcc.Tx) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return f(view{x})
}

// Freeze runs f on what was published; nobody waits for it. What is shared with
// the index is not changed in place by who comes after.
func (x *Index) Freeze(f func(mvcc.Tx) error) error {
	x.mu.Lock()
	n, _ := slices.BinarySearchFunc(x.rows, x.st.Rev+1, byRev) // without those that may be taken back
	y := &Index{st: x.st, keys: *x.keys.Copy(), rows: x.rows[:n:n], bytes: x.bytes,
		leases: maps.Clone(x.leases), hung: map[int64]*btree.Set[string]{}, notes: maps.Clone(x.notes)}
	for id, h := range x.hung {
		y.hung[id] = h.Copy()
	}
	x.mu.Unlock()
	return f(view{y})
}

// Wait returns nil when the revision is above rev, or with the context's error.
func (x *Index) Wait(ctx context.Context, rev int64) error {
	for {
		now, moved := x.Moved()
		if now > rev {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Moved returns the revision and what is closed when there is a later one.
func (x *Index) Moved() (int64, <-chan struct{}) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.st.Rev, x.moved
}

// News is what a store has that an index does not.
type News struct {
	State  mvcc.State
	Rows   []*mvcc.Row // whole revisions, in order, up to State.Rev
	Leases []mvcc.Lease
	Ended  []int64 // leases
	Notes  map[string][]byte
	// Whole says that the index is to have the leases in Leases, and no others.
	Whole bool
}

// Apply takes what the store has, at once. Rows that are known already are left
// out. There must be no batch.
func (x *Index) Apply(n News) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range n.Rows {
		if r.Rev > x.st.Rev {
			x.append(r)
			x.unhang(r)
		}
	}
	x.lease(&n)
	maps.Copy(x.notes, n.Notes)
	x.publish(n.State)
}

// Reset makes the index one with these rows and leases only. There must be no
// batch and no Trim.
func (x *Index) Reset(n News) {
	fresh := New()
	for _, r := range n.Rows {
		fresh.append(r)
		fresh.unhang(r)
	}
	fresh.lease(&n)
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(x.notes, n.Notes)
	x.keys, x.rows, x.bytes, x.leases, x.hung = fresh.keys, fresh.rows, fresh.bytes, fresh.leases, fresh.hung
	x.publish(n.State)
}

func (x *Index) lease(n *News) {
	if n.Whole {
		clear(x.leases)
	}
	for _, l := range n.Leases {
		x.leases[l.ID] = l
	}
	for _, id := range n.Ended {
		delete(x.leases, id)
	}
}

// publish shows readers a state; x.mu is held.
func (x *Index) publish(st mvcc.State) {
	moves := st.Rev != x.st.Rev
	x.st = st
	if moves {
		close(x.moved)
		x.moved = make(chan struct{})
	}
}

func (x *Index) append(r *mvcc.Row) {
	key := string(r.Key)
	rows, _ := x.keys.Get(key)
	x.keys.Set(key, append(rows, r))
	x.rows = append(x.rows, r)
	x.bytes += size(r)
	if r.Lease != 0 {
		h := x.hung[r.Lease]
		if h == nil {
			h = new(btree.Set[string])
			x.hung[r.Lease] = h
		}
		h.Insert(key)
	}
}

// size is about what a row takes.
func size(r *mvcc.Row) int64 { return int64(len(r.Key)+len(r.Value)) + 64 }

// takeBack removes the newest row.
func (x *Index) takeBack() {
	n := len(x.rows) - 1
	r := x.rows[n]
	x.rows[n] = nil
	x.rows = x.rows[:n]
	x.bytes -= size(r)
	key := string(r.Key)
	rows, _ := x.keys.Get(key)
	rows = rows[: len(rows)-1 : len(rows)-1]
	if len(rows) == 0 {
		x.keys.Delete(key)
	} else {
		x.keys.Set(key, rows)
	}
	// The key may have hung on the lease before, with rows between that go too.
	if !slices.ContainsFunc(rows, func(o *mvcc.Row) bool { return o.Lease == r.Lease }) {
		x.drop(r.Lease, key, rows)
	}
}

// unhang takes the row's key from the lease that it hung on before the row.
func (x *Index) unhang(r *mvcc.Row) {
	rows, _ := x.keys.Get(string(r.Key))
	i, ok := slices.BinarySearchFunc(rows, r.Rev, byRev)
	if ok && i > 0 {
		x.drop(rows[i-1].Lease, string(r.Key), rows)
	}
}

// drop forgets that a key hangs on a lease, unless its newest row does.
func (x *Index) drop(id int64, key string, rows []*mvcc.Row) {
	h := x.hung[id]
	if h == nil || len(rows) > 0 && rows[len(rows)-1].Lease == id {
		return
	}
	h.Delete(key)
	if h.Len() == 0 {
		delete(x.hung, id)
	}
}

func byRev(r *mvcc.Row, rev int64) int { return cmp.Compare(r.Rev, rev) }

// at returns the row of a key that is seen at a revision.
func at(rows []*mvcc.Row, rev int64) *mvcc.Row {
	i := len(rows) - 1
	if i >= 0 && rows[i].Rev > rev {
		i, _ = slices.BinarySearchFunc(rows, rev+1, byRev)
		i--
	}
	if i < 0 || rows[i].Deleted {
		return nil
	}
	return rows[i]
}

// each calls f for what is in the span at a revision until f returns false.
func (x *Index) each(s mvcc.Span, rev int64, f func(*mvcc.Row) bool) {
	if n := len(s.From); !s.Open && len(s.To) == n+1 && s.To[n] == 0 && s.To[:n] == s.From { // one key
		rows, _ := x.keys.Get(s.From)
		if r := at(rows, rev); r != nil {
			f(r)
		}
		return
	}
	x.keys.Ascend(s.From, func(key string, rows []*mvcc.Row) bool {
		if !s.Open && key >= s.To {
			return false
		}
		r := at(rows, rev)
		return r == nil || f(r)
	})
}

func (x *Index) span(s mvcc.Span, rev int64, limit int) (rows []mvcc.Row) {
	x.each(s, rev, func(r *mvcc.Row) bool {
		rows = append(rows, *r)
		return len(rows) != limit
	})
	return rows
}

func (x *Index) count(s mvcc.Span, rev int64) (n int64) {
	x.each(s, rev, func(*mvcc.Row) bool { n++; return true })
	return n
}

// since returns a page of the rows above a revision, up to another.
func (x *Index) since(rev, to int64) []mvcc.Row {
	i, _ := slices.BinarySearchFunc(x.rows, rev+1, byRev)
	var p mvcc.Page
	for _, r := range x.rows[i:] {
		if r.Rev > to || !p.Add(*r) {
			break
		}
	}
	return p.Rows
}

// hangs returns the keys that hang on a lease at a revision.
func (x *Index) hangs(id, rev int64) (keys [][]byte) {
	if h := x.hung[id]; h != nil {
		h.Scan(func(key string) bool {
			rows, _ := x.keys.Get(key)
			if r := at(rows, rev); r != nil && r.Lease == id {
				keys = append(keys, r.Key)
			}
			return true
		})
	}
	return keys
}

// view reads what was published; x.mu is held.
type view struct{ x *Index }

func (v view) State() mvcc.State { return v.x.st }
func (v view) Range(s mvcc.Span, rev int64, limit int, _ bool) ([]mvcc.Row, error) {
	return v.x.span(s, rev, limit), nil
}
func (v view) Count(s mvcc.Span, rev int64) (int64, error)    { return v.x.count(s, rev), nil }
func (v view) Since(rev int64) ([]mvcc.Row, error)            { return v.x.since(rev, v.x.st.Rev), nil }
func (v view) LeaseKeys(id int64) ([][]byte, error)           { return v.x.hangs(id, v.x.st.Rev), nil }
func (v view) Note(name string) ([]byte, error)               { return v.x.notes[name], nil }
func (v view) Size() (int64, error)                           { return v.x.bytes, nil }
func (v view) Leases(id int64) (ls []mvcc.Lease, err error)   { return v.x.granted(id), nil }
func (v view) Expired(now time.Time) (ids []int64, err error) { return v.x.expired(now), nil }

func (x *Index) granted(id int64) (ls []mvcc.Lease) {
	if id != 0 {
		if l, ok := x.leases[id]; ok {
			ls = append(ls, l)
		}
		return ls
	}
	for _, l := range x.leases {
		ls = append(ls, l)
	}
	return ls
}

func (x *Index) expired(now time.Time) (ids []int64) {
	for id, l := range x.leases {
		if l.Expires.Before(now) {
			ids = append(ids, id)
		}
	}
	return ids
}
