package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
)

// Dialect is a database, and what its kind does in its own way.
type Dialect struct {
	Write *sql.DB // has at most one connection
	Read  *sql.DB
	Slow  *sql.DB // for Defragment, where Write has a limit of time; nil: Write

	// Schema makes the tables, where they are not there: statements that are
	// run on one connection, which is given up when one of them fails.
	Schema []string
	Dollar bool   // parameters are $1, $2 … and not ?
	Upsert string // at the end of an insert of leases: a present one is replaced

	Snapshot  sql.TxOptions      // of a reader whose queries shall see the same
	Isolation sql.IsolationLevel // of the writer: what others wrote before it has the lock must be seen
	Lock      string             // at the end of the query that locks the state
	LockTail  string             // at the end of those that read the rest then

	// Notify is told in each write that moves the revision, with two parameters:
	// the channel and the revision. Empty: there is no such thing.
	Notify string
	// Listen calls heard whenever a revision is told on the channel, and first
	// of all when that is known to work. It returns when it no longer does.
	Listen func(ctx context.Context, channel string, heard func()) error

	// Fault makes an error ErrAgain or one of mvcc's, where it is one.
	Fault func(error) error
	// Defragment are the statements that give space back.
	Defragment []string
}

// StateMark stands in a Schema where the state is to be made: after the tables,
// and while other processes are kept out.
const StateMark = ""

// ErrAgain is about a transaction that did not happen and may be tried again.
var ErrAgain = errors.New("the database gave way to another transaction")

func (d *Dialect) close() error {
	err := errors.Join(d.Read.Close(), d.Write.Close())
	if d.Slow != nil {
		err = errors.Join(err, d.Slow.Close())
	}
	return err
}

// text is a statement with the parameters as the database wants them.
func (d *Dialect) text(query string) string {
	if !d.Dollar {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, more := strings.Cut(query, "?")
		b.WriteString(before)
		if !more {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// values is the part of an insert that has n rows of some columns.
func values(n, columns int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", columns), ", ") + ")"
	return strings.TrimSuffix(strings.Repeat(row+", ", n), ", ")
}

// statements are prepared once per connection, by database/sql.
type statements struct {
	state, tail, leases, notes   *sql.Stmt // for readers
	lock, lockTail, lockLeases   *sql.Stmt // for the writer, as the others
	lockNotes, endNote, putNote  *sql.Stmt
	move, purge, notify          *sql.Stmt
	insert, putLease, removeRows map[int]*sql.Stmt // by number of rows
}

// sizes of the statements that have several rows, largest first.
var sizes = []int{128, 16, 1}

const (
	stateColumns = "s.store, s.rev, s.compact, s.leases, s.floor, s.notes"
	stateQuery   = "SELECT " + stateColumns + " FROM sluice_state s WHERE s.one = 1"
	tailQuery    = "SELECT r.rev, r.sub, r.k, r.v, r.made, r.times, r.lease, r.gone FROM sluice_log r WHERE r.rev > ? ORDER BY r.rev, r.sub"
	noteQuery    = "SELECT n.name, n.v FROM sluice_note n"
	leaseQuery   = "SELECT l.id, l.ttl, l.expires FROM sluice_lease l WHERE l.seq > ?"
)

func (s *Store) prepare(ctx context.Context) error {
	q := &s.q
	q.insert, q.putLease, q.removeRows = map[int]*sql.Stmt{}, map[int]*sql.Stmt{}, map[int]*sql.Stmt{}
	type plan struct {
		to    **sql.Stmt
		db    *sql.DB
		query string
	}
	plans := []plan{
		{&q.state, s.d.Read, stateQuery},
		{&q.tail, s.d.Read, tailQuery},
		{&q.leases, s.d.Read, leaseQuery},
		{&q.notes, s.d.Read, noteQuery},
		{&q.lock, s.d.Write, stateQuery + s.d.Lock},
		{&q.lockTail, s.d.Write, tailQuery + s.d.LockTail},
		{&q.lockLeases, s.d.Write, leaseQuery + s.d.LockTail},
		{&q.lockNotes, s.d.Write, noteQuery + s.d.LockTail},
		{&q.endNote, s.d.Write, "DELETE FROM sluice_note WHERE name = ?"},
		{&q.putNote, s.d.Write, "INSERT INTO sluice_note (name, v) VALUES (?, ?)"},
		{&q.move, s.d.Write, "UPDATE sluice_state SET rev = ?, compact = ?, leases = ?, floor = ?, notes = ? WHERE one = 1"},
		{&q.purge, s.d.Write, "DELETE FROM sluice_lease WHERE ttl = 0"},
	}
	if s.d.Notify != "" {
		plans = append(plans, plan{&q.notify, s.d.Write, s.d.Notify})
	}
	several := make([][3]*sql.Stmt, len(sizes))
	for i, n := range sizes {
		where := strings.TrimSuffix(strings.Repeat("rev = ? AND sub = ? OR ", n), " OR ")
		plans = append(plans,
			plan{&several[i][0], s.d.Write, "INSERT INTO sluice_log (rev, sub, k, v, made, times, lease, gone) VALUES " + values(n, 8)},
			plan{&several[i][1], s.d.Write, "INSERT INTO sluice_lease (id, seq, ttl, expires) VALUES " + values(n, 4) + s.d.Upsert},
			plan{&several[i][2], s.d.Write, "DELETE FROM sluice_log WHERE " + where})
	}
	for _, p := range plans {
		var err error
		if *p.to, err = p.db.PrepareContext(ctx, s.d.text(p.query)); err != nil {
			return err
		}
	}
	for i, n := range sizes {
		q.insert[n], q.putLease[n], q.removeRows[n] = several[i][0], several[i][1], several[i][2]
	}
	return nil
}
