package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"sluice/configcenter/adapter/mvcc"
)

// model is an index as one would write it without a thought for speed.
type model struct {
	st   mvcc.State
	rows []mvcc.Row
}

func (m *model) copy() *model { return &model{m.st, slices.Clone(m.rows)} }

// at is the row of a key that is seen at a revision.
func (m *model) at(key string, rev int64) (found mvcc.Row, ok bool) {
	for _, r := range m.rows {
		if string(r.Key) == key && r.Rev <= rev {
			found, ok = r, !r.Deleted
		}
	}
	return found, ok
}

const keys = 40

func key(i int) string { return fmt.Sprintf("/%02d", i) }

func (m *model) span(rev int64) (rows []mvcc.Row) {
	for i := range keys {
		if r, ok := m.at(key(i), rev); ok {
			rows = append(rows, r)
		}
	}
	return rows
}

func (m *model) hangs(lease, rev int64) (hang []string) {
	for _, r := range m.span(rev) {
		if r.Lease == lease {
			hang = append(hang, string(r.Key))
		}
	}
	return hang
}

// same compares what a transaction shows with the model.
func (m *model) same(t *testing.T, tx mvcc.Tx, random *rand.Rand, rev int64) {
	t.Helper()
	at := rev
	if old := max(1, m.st.Compact); random.IntN(2) == 0 && rev > old {
		at = old + random.Int64N(rev-old+1)
	}
	rows, err := tx.Range(mvcc.Span{Open: true}, at, 0, true)
	if want := m.span(at); err != nil || !reflect.DeepEqual(rows, want) {
		t.Fatalf("at %d of %d: %v, %v, want %v", at, rev, rows, err, want)
	}
	if n, err := tx.Count(mvcc.Span{Open: true}, at); n != int64(len(rows)) || err != nil {
		t.Fatalf("%d keys, %v, want %d", n, err, len(rows))
	}
	one := key(random.IntN(keys))
	rows, err = tx.Range(mvcc.NewSpan([]byte(one), nil), at, 1, true)
	if r, ok := m.at(one, at); err != nil || ok != (len(rows) == 1) || ok && !reflect.DeepEqual(rows[0], r) {
		t.Fatalf("%s at %d: %v, %v, want %v", one, at, rows, err, r)
	}
	lease := 1 + random.Int64N(3)
	var hang []string
	ks, err := tx.LeaseKeys(lease)
	for _, k := range ks {
		hang = append(hang, string(k))
	}
	if want := m.hangs(lease, rev); err != nil || !slices.Equal(hang, want) {
		t.Fatalf("lease %d has %v, %v, want %v", lease, hang, err, want)
	}
	rows, err = tx.Since(at)
	var want []mvcc.Row
	for _, r := range m.rows {
		if r.Rev > at && r.Rev <= rev {
			want = append(want, r)
		}
	}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Fatalf("since %d: %v, %v, want %v", at, rows, err, want)
	}
}

var errRefused = errors.New("refused")

// Random batches, of which some updates fail and some are undone as a whole,
// with compactions between: what readers and writers see is what a simple model
// says.
func TestLikeModel(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		x, m := New(), &model{st: mvcc.State{Rev: 1, Compact: -1}}
		for range 60 {
			batch(t, x, m, random)
			if x.State() != m.st {
				t.Fatalf("state %+v, want %+v", x.State(), m.st)
			}
			x.View(func(tx mvcc.Tx) error { m.same(t, tx, random, m.st.Rev); return nil })
			if random.IntN(20) > 0 {
				continue
			}
			x.Freeze(func(tx mvcc.Tx) error {
				frozen := m.copy()
				for range 10 {
					batch(t, x, m, random)
					frozen.same(t, tx, random, frozen.st.Rev)
				}
				return nil
			})
		}
	}
}

// batch is one, and perhaps a compaction.
func batch(t *testing.T, x *Index, m *model, random *rand.Rand) {
	b, before := x.Begin(), m.copy()
	for range random.IntN(4) {
		old := m.copy()
		err := b.Update(func(tx mvcc.WriteTx) error { return scribble(t, m, tx, random) })
		if err != nil {
			*m = *old
		} else if len(m.rows) > len(old.rows) {
			m.st.Rev++
		}
		// Readers know nothing of it yet.
		look := func(tx mvcc.Tx) error { before.same(t, tx, random, before.st.Rev); return nil }
		x.View(look)
		x.Freeze(look)
	}
	if random.IntN(4) == 0 {
		b.Undo()
		*m = *before
	} else {
		b.Publish()
	}
	if random.IntN(5) == 0 {
		trim(x, m)
	}
}

// scribble writes some keys, and looks at them.
func scribble(t *testing.T, m *model, tx mvcc.WriteTx, random *rand.Rand) error {
	for i, k := range random.Perm(keys)[:random.IntN(4)] {
		r := mvcc.Row{Rev: m.st.Rev + 1, Sub: int64(i), Key: []byte(key(k)), Create: m.st.Rev + 1, Version: 1, Lease: random.Int64N(4)}
		if random.IntN(3) == 0 {
			r = mvcc.Row{Rev: r.Rev, Sub: r.Sub, Key: r.Key, Deleted: true}
		}
		if err := tx.Append(r); err != nil {
			return err
		}
		m.rows = append(m.rows, r)
		m.same(t, tx, random, r.Rev)
	}
	if c := m.st.Rev - random.Int64N(10); random.IntN(8) == 0 && c > m.st.Compact && c > 0 {
		if err := tx.Compact(c); err != nil {
			return err
		}
		m.st.Compact = c
	}
	if random.IntN(5) == 0 {
		return errRefused
	}
	return nil
}

// trim compares nothing: what it took away must not be missed later.
func trim(x *Index, m *model) {
	gone := x.Trim()
	m.rows = slices.DeleteFunc(m.rows, func(r mvcc.Row) bool { return slices.Contains(gone, Position{r.Rev, r.Sub}) })
}

// What was written at the compacted revision stays, all of it: a watch may start
// there.
func TestTrimKeepsTheRevision(t *testing.T) {
	x := New()
	for _, rows := range [][]mvcc.Row{
		{{Rev: 2, Key: []byte("a")}},
		{{Rev: 3, Key: []byte("a"), Deleted: true}, {Rev: 3, Sub: 1, Key: []byte("a")}},
	} {
		b := x.Begin()
		err := b.Update(func(tx mvcc.WriteTx) error {
			for _, r := range rows {
				if err := tx.Append(r); err != nil {
					return err
				}
			}
			return tx.Compact(tx.State().Rev)
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Publish()
	}
	for _, c := range []struct {
		compact int64
		gone    []Position
	}{{3, []Position{{2, 0}}}, {4, []Position{{3, 0}}}} {
		x.Apply(News{State: mvcc.State{Rev: c.compact, Compact: c.compact}})
		if gone := x.Trim(); !slices.Equal(gone, c.gone) {
			t.Errorf("compacted at %d: %v are gone, want %v", c.compact, gone, c.gone)
		}
	}
}

// A compaction of more keys than one step has removes what is over, all of it
// and nothing else, while others write.
func TestTrimMany(t *testing.T) {
	const many = 3*step + 7
	x := New()
	write := func(deleted bool) {
		b := x.Begin()
		for i := range many {
			err := b.Update(func(tx mvcc.WriteTx) error {
				return tx.Append(mvcc.Row{Rev: tx.State().Rev + 1, Key: fmt.Append(nil, i), Deleted: deleted && i%2 == 0})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		b.Publish()
	}
	write(false)
	write(true)
	b := x.Begin()
	if err := b.Update(func(tx mvcc.WriteTx) error { return tx.Compact(tx.State().Rev) }); err != nil {
		t.Fatal(err)
	}
	b.Publish()
	done := make(chan []Position)
	go func() { done <- x.Trim() }()
	write(false)
	gone := <-done
	if want := many + (many-1)/2; len(gone) != want { // the last deletion is at the compacted revision
		t.Errorf("%d rows are gone, want %d", len(gone), want)
	}
	if !slices.IsSortedFunc(gone, func(a, b Position) int { return int(a.Rev - b.Rev) }) {
		t.Error("the oldest rows do not go first")
	}
	if n := len(x.rows); n != 3*many-len(gone) {
		t.Errorf("%d rows are left, want %d", n, 3*many-len(gone))
	}
	x.View(func(tx mvcc.Tx) error {
		if n, _ := tx.Count(mvcc.Span{Open: true}, tx.State().Rev); n != many {
			t.Errorf("%d keys, want %d", n, many)
		}
		return nil
	})
}
