// Package mvcc is what the etcd adapter asks of a store: rows that are never
// changed, each under the revision that wrote it, and leases. It does not know
// etcd's protocol, nor any store.
package mvcc

import (
	"context"
	"errors"
	"time"
)

// Row is one write of one key. Its slices belong to the store: whoever gets a
// row must not change them.
type Row struct {
	Rev     int64 // revision that wrote it; all rows of a transaction share it
	Sub     int64 // order within the revision, from 0
	Key     []byte
	Value   []byte
	Create  int64 // revision of the key's first row since it last did not exist
	Version int64 // how many rows the key has had since then
	Lease   int64 // 0: none
	Deleted bool  // the key ends here; Value, Create, Version and Lease are zero
}

// State is where a store stands.
type State struct {
	Rev     int64 // of the last write; a new store is at 1
	Compact int64 // older revisions can no longer be read; -1: all can
	Notes   int64 // how often a note was put
}

// Lease ends its keys when it ends.
type Lease struct {
	ID      int64
	TTL     time.Duration // as granted
	Expires time.Time
}

// Span is a range of keys: From up to To, without To.
type Span struct {
	From, To string
	Open     bool // no upper end; To does not count
}

// NewSpan makes the span of etcd's key and range_end: without an end it is the
// one key, with an end of one zero byte everything from the key on.
func NewSpan(key, end []byte) Span {
	switch {
	case len(end) == 0:
		return Span{From: string(key), To: string(key) + "\x00"}
	case len(end) == 1 && end[0] == 0:
		return Span{From: string(key), Open: true}
	}
	return Span{From: string(key), To: string(end)}
}

// Has says whether the key lies in the span.
func (s Span) Has(key []byte) bool {
	return string(key) >= s.From && (s.Open || string(key) < s.To)
}

// Backend keeps the rows. Several processes may have one open at the same
// time if its kind allows that. All methods are safe for concurrent use.
type Backend interface {
	// ID is the same for every process that uses this store, and differs
	// between stores.
	ID() uint64
	// View runs f on a view of the store that does not change meanwhile and
	// has every write that ended before. Writers may have to wait for f.
	View(ctx context.Context, f func(Tx) error) error
	// Freeze is View for an f that takes long: nobody waits for it, and what
	// others write meanwhile it does not see.
	Freeze(ctx context.Context, f func(Tx) error) error
	// Update runs f alone among all writers, in all processes. What f wrote
	// becomes visible at once when it returns nil, and durable; when it returns
	// an error, nothing of that happened. f may be run again, when what it did
	// had to be taken back, and must begin anew then.
	Update(ctx context.Context, f func(WriteTx) error) error
	// Wait returns nil when there may be a revision above rev. It may be early.
	Wait(ctx context.Context, rev int64) error
	// Defragment gives space back that old rows had.
	Defragment(ctx context.Context) error
	Close() error
}

// Local is a Backend that knows much without asking its store.
type Local interface {
	// Peek is as View, but what other processes wrote lately may be missing.
	Peek(f func(Tx) error) error
}

// Tx reads. It must not be used after the function that got it has returned.
type Tx interface {
	State() State
	// Range returns what is in the span at a revision, by key, at most limit
	// rows (0: all). Without values, Value may be nil.
	Range(s Span, rev int64, limit int, values bool) ([]Row, error)
	// Count is how many keys are in the span at a revision.
	Count(s Span, rev int64) (int64, error)
	// Since returns the first rows above a revision in the order in which they
	// were written: whole revisions, about as many as fit a Page.
	Since(rev int64) ([]Row, error)
	// Leases returns the lease with the id, or all when id is 0.
	Leases(id int64) ([]Lease, error)
	// LeaseKeys returns the keys that now hang on the lease, sorted.
	LeaseKeys(id int64) ([][]byte, error)
	// Expired returns some of the leases that ended before now.
	Expired(now time.Time) ([]int64, error)
	// Note returns what was put under the name; nil when nothing was. It must
	// not be changed.
	Note(name string) ([]byte, error)
	// Size is how many bytes the store takes.
	Size() (int64, error)
}

// WriteTx reads, including what it wrote itself, and writes.
type WriteTx interface {
	Tx
	// Append adds one row. Its revision must be State().Rev+1, which becomes
	// the store's when the update ends.
	Append(Row) error
	// Compact forgets what is not needed to read at rev and later.
	Compact(rev int64) error
	PutLease(Lease) error
	DeleteLease(id int64) error
	// PutNote keeps a small value beside the rows, and raises State().Notes by
	// one when the update ends. It makes no revision.
	PutNote(name string, value []byte) error
}

// What a store may say beside errors of its own. With ErrTimeout and
// with unknown errors an update may have happened all the same.
var (
	ErrTooLarge = errors.New("the write is too large for this store")
	ErrNoSpace  = errors.New("the store is full")
	ErrTimeout  = errors.New("the store did not answer in time")
)

// Bounds of a Page.
const (
	pageRows  = 1000
	pageBytes = 4 << 20
)

// Page gathers whole revisions up to a bound.
type Page struct {
	Rows  []Row
	bytes int
}

// Add takes the next row and returns true, or returns false when the page is
// full and the row begins a further revision.
func (p *Page) Add(r Row) bool {
	if n := len(p.Rows); n > 0 && p.Rows[n-1].Rev != r.Rev && full(n, p.bytes) {
		return false
	}
	p.Rows = append(p.Rows, r)
	p.bytes += len(r.Key) + len(r.Value)
	return true
}

// Fit is how many of the rows, from the first one on, are a page.
func Fit(rows []Row) int {
	bytes := 0
	for i := range rows {
		if i > 0 && rows[i-1].Rev != rows[i].Rev && full(i, bytes) {
			return i
		}
		bytes += len(rows[i].Key) + len(rows[i].Value)
	}
	return len(rows)
}

func full(rows, bytes int) bool { return rows >= pageRows || bytes >= pageBytes }
