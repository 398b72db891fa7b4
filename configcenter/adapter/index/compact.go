package index

import (
	"cmp"
	"slices"

	"sluice/configcenter/adapter/mvcc"
)

// step is how many keys a compaction looks at before it lets others go on.
const step = 1000

// Position is the place of one row.
type Position struct{ Rev, Sub int64 }

// Trim removes the rows that nobody can see at the compacted revision or later,
// a part at a time, and returns where they were, oldest first. What was written
// at that revision itself stays: a watch may start there. Only one Trim may run
// at a time.
func (x *Index) Trim() []Position {
	compact := x.State().Compact
	if compact < 1 {
		return nil
	}
	var gone []Position
	from, more := "", true
	for more {
		from, more = x.trimKeys(from, compact, &gone)
	}
	slices.SortFunc(gone, func(a, b Position) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Sub, b.Sub))
	})
	x.trimRows(gone)
	return gone
}

// trimKeys looks at a number of keys, and returns where to go on.
func (x *Index) trimKeys(from string, compact int64, gone *[]Position) (next string, more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	changed := map[string][]*mvcc.Row{}
	n := 0
	x.keys.Ascend(from, func(key string, rows []*mvcc.Row) bool {
		if n++; n > step {
			next, more = key, true
			return false
		}
		if over(rows, 0, compact) { // else none is: the first one goes first
			changed[key] = rows
		}
		return true
	})
	for key, rows := range changed {
		var kept []*mvcc.Row
		for i, r := range rows {
			if !over(rows, i, compact) {
				kept = append(kept, r)
				continue
			}
			*gone = append(*gone, Position{r.Rev, r.Sub})
			x.bytes -= size(r)
		}
		if len(kept) == 0 {
			x.keys.Delete(key)
		} else {
			x.keys.Set(key, kept)
		}
	}
	return next, more
}

// over says whether a row is no longer seen at a revision, nor needed.
func over(rows []*mvcc.Row, i int, compact int64) bool {
	return rows[i].Rev < compact && (rows[i].Deleted || i+1 < len(rows) && rows[i+1].Rev <= compact)
}

// trimRows takes rows out of the list of all. New ones may come meanwhile.
func (x *Index) trimRows(gone []Position) {
	if len(gone) == 0 {
		return
	}
	x.mu.RLock()
	n, _ := slices.BinarySearchFunc(x.rows, gone[len(gone)-1].Rev+1, byRev)
	old := x.rows[:n:n]
	x.mu.RUnlock()
	kept := make([]*mvcc.Row, 0, n-min(n, len(gone)))
	for _, r := range old {
		if len(gone) > 0 && gone[0] == (Position{r.Rev, r.Sub}) {
			gone = gone[1:]
			continue
		}
		kept = append(kept, r)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows = append(kept, x.rows[n:]...)
}
