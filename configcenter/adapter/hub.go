package adapter

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"sluice/configcenter/adapter/mvcc"
)

// Bounds of what a hub keeps for watchers that are nearly up to date; who is
// further behind reads from the store.
const (
	ringRows  = 16384
	ringBytes = 32 << 20
)

// hub has the newest rows, read once for all watches. Watches come and fetch,
// each at its own pace; none is waited for.
type hub struct {
	mu    sync.Mutex
	rev   int64      // all rows up to here are known
	after int64      // rows above this revision are in rows
	rows  []mvcc.Row // never changed in place: watches hold parts of it
	bytes int
	moved chan struct{} // closed when rev moves
}

func newHub(rev int64) *hub { return &hub{rev: rev, after: rev, moved: make(chan struct{})} }

// now returns the revision up to which rows are known, and what is closed when
// there is a later one.
func (h *hub) now() (int64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rev, h.moved
}

// since returns a page of the rows above a revision, and up to where they tell
// everything; ok is false when some of them are no longer here.
func (h *hub) since(rev int64) (rows []mvcc.Row, to int64, ok bool) {
	h.mu.Lock()
	all, to, after := h.rows, h.rev, h.after
	h.mu.Unlock()
	if rev < after {
		return nil, 0, false
	}
	rows = all[above(all, rev):]
	if n := mvcc.Fit(rows); n < len(rows) {
		return rows[:n], rows[n-1].Rev, true
	}
	return rows, to, true
}

// above is the index of the first row above a revision.
func above(rows []mvcc.Row, rev int64) int {
	i, _ := slices.BinarySearchFunc(rows, rev+1, func(r mvcc.Row, rev int64) int { return cmp.Compare(r.Rev, rev) })
	return i
}

// add takes the rows up to a revision. lost says that there were others before.
func (h *hub) add(rows []mvcc.Row, rev int64, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if lost {
		h.rows, h.bytes, h.after = nil, 0, rev
	} else {
		h.rows = append(h.rows, rows...)
		for i := range rows {
			h.bytes += rowBytes(&rows[i])
		}
	}
	h.trim()
	h.rev = rev
	close(h.moved)
	h.moved = make(chan struct{})
}

// trim drops the oldest revisions, half of the room at a time.
func (h *hub) trim() {
	if len(h.rows) <= ringRows && h.bytes <= ringBytes {
		return
	}
	n := 0
	for n < len(h.rows) && (len(h.rows)-n > ringRows/2 || h.bytes > ringBytes/2) {
		h.after = h.rows[n].Rev
		for n < len(h.rows) && h.rows[n].Rev == h.after {
			h.bytes -= rowBytes(&h.rows[n])
			n++
		}
	}
	h.rows = slices.Clone(h.rows[n:]) // so that the old ones can be freed
}

func rowBytes(r *mvcc.Row) int { return len(r.Key) + len(r.Value) + 128 }

// follow keeps the hub up to date until ctx ends. A store that fails is asked
// again, ever more slowly.
func (s *Server) follow(ctx context.Context) {
	const shortest, longest = 10 * time.Millisecond, 2 * time.Second
	wait := shortest
	for ctx.Err() == nil {
		rev, _ := s.hub.now()
		err := s.db.Wait(ctx, rev)
		if err == nil {
			err = s.fetch(ctx, rev)
		}
		if err == nil {
			wait = shortest
			continue
		}
		if ctx.Err() == nil {
			s.log.Warn("the store cannot be followed, trying again", "err", err)
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, longest)
	}
}

// fetch moves the hub on by one page.
func (s *Server) fetch(ctx context.Context, after int64) error {
	var rows []mvcc.Row
	var st mvcc.State
	err := s.peek(ctx, func(tx mvcc.Tx) (err error) {
		if st = tx.State(); st.Rev > after {
			rows, err = tx.Since(after)
		}
		return err
	})
	if err == nil && st.Rev > after {
		s.hub.add(rows, reached(rows, st), st.Compact > after+1)
	}
	return err
}

// reached is the revision up to which a page of rows tells everything.
func reached(rows []mvcc.Row, st mvcc.State) int64 {
	if n := len(rows); n > 0 {
		return rows[n-1].Rev
	}
	return st.Rev
}
