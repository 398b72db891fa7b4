// Package sqllog keeps the etcd adapter's rows in an SQL database: a log that
// any number of processes append to, one at a time. Each process has all of it
// in memory too, and reads there; before each read it asks the database whether
// others have written. It does not know one database from another, nor etcd's
// protocol.
package sqllog

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sluice/configcenter/adapter/index"
	"sluice/configcenter/adapter/mvcc"
)

// format is the version of the tables.
const format = 1

// patience bounds what one request waits for the database: as long as etcd
// waits for its cluster.
const patience = 7 * time.Second

// Store is a mvcc.Backend.
type Store struct {
	d    Dialect
	q    statements
	x    *index.Index
	id   uint64
	stop context.CancelFunc
	runs sync.WaitGroup

	queue chan *op
	done  <-chan struct{} // closed when the store is closing
	reads reads

	// apply is held by who changes the index. leases is the position in the
	// log of leases up to which the index has them.
	apply  sync.Mutex
	leases atomic.Int64

	// lost is why the database is no longer the one that was opened; nil: it is.
	// That does not end: what the index has is not the database's history.
	lost atomic.Pointer[error]

	whole     sync.Mutex // held by who goes through the whole index
	trims     chan bool  // a compaction is to be carried out; true: in the database too
	nudge     chan struct{}
	listening atomic.Bool
}

// Open makes the tables if there are none, and reads everything. It takes over
// the dialect's databases, also when it fails.
func Open(ctx context.Context, d Dialect) (*Store, error) {
	s := &Store{d: d, x: index.New(), queue: make(chan *op), trims: make(chan bool, 1), nudge: make(chan struct{}, 1)}
	err := s.asking(func(context.Context) error { // opening may take longer than a request
		return firstError(ctx, s.create, s.prepare, s.catchUp)
	})
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	own, cancel := context.WithCancel(context.Background())
	s.stop, s.done = cancel, own.Done()
	s.runs.Go(func() { (&writer{Store: s}).run(own) })
	s.runs.Go(func() { s.trim(own) })
	if d.Listen != nil {
		s.runs.Go(func() { s.listen(own) })
	}
	s.compacted(true) // perhaps a process ended before it had removed all
	return s, nil
}

func firstError(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// create makes the tables and their one state, unless they are there.
func (s *Store) create(ctx context.Context) error {
	conn, err := s.d.Write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.know(ctx, conn); err == nil || errors.Is(err, errVersion) {
		return err
	}
	err = func() error {
		for _, q := range s.d.Schema {
			if err := s.makeState(ctx, conn, q); err != nil {
				return err
			}
		}
		return s.know(ctx, conn)
	}()
	if err != nil { // a lock that the statements took ends with the connection
		conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	return err
}

func (s *Store) makeState(ctx context.Context, conn *sql.Conn, query string) error {
	if query != StateMark {
		_, err := conn.ExecContext(ctx, query)
		return err
	}
	if err := s.know(ctx, conn); !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var id [8]byte
	rand.Read(id[:])
	_, err := conn.ExecContext(ctx, s.d.text("INSERT INTO sluice_state (one, format, store, rev, compact, leases, floor, notes) VALUES (1, ?, ?, 1, -1, 0, 0, 0)"),
		format, int64(binary.LittleEndian.Uint64(id[:])))
	return err
}

// errVersion is about tables that are not to be touched.
var errVersion = errors.New("this program does not know these tables")

// know learns which store it is.
func (s *Store) know(ctx context.Context, conn *sql.Conn) error {
	var version, id int64
	if err := conn.QueryRowContext(ctx, "SELECT format, store FROM sluice_state WHERE one = 1").Scan(&version, &id); err != nil {
		return err
	}
	if version != format {
		return fmt.Errorf("%w: they are of version %d, it knows version %d", errVersion, version, format)
	}
	s.id = uint64(id)
	return nil
}

// ID is random, and kept in the database.
func (s *Store) ID() uint64 { return s.id }

// View runs f on the index, when that has all that was written before.
func (s *Store) View(ctx context.Context, f func(mvcc.Tx) error) error {
	if err := s.refresh(ctx); err != nil {
		return err
	}
	return s.x.View(f)
}

// Freeze runs f on a copy of the index, when that has all that was written before.
func (s *Store) Freeze(ctx context.Context, f func(mvcc.Tx) error) error {
	if err := s.refresh(ctx); err != nil {
		return err
	}
	return s.x.Freeze(f)
}

// Peek runs f on the index as it is.
func (s *Store) Peek(f func(mvcc.Tx) error) error {
	if lost := s.lost.Load(); lost != nil {
		return *lost
	}
	return s.x.View(f)
}

// How often a store is asked for what others wrote: again and again at first,
// then less and less.
const (
	pollFirst     = 5 * time.Millisecond
	pollLast      = 80 * time.Millisecond
	pollListening = 2 * time.Second // others tell when they write
)

// Wait returns nil when there is a revision above rev.
func (s *Store) Wait(ctx context.Context, rev int64) error {
	for every := pollFirst; ; every = min(2*every, pollLast) {
		if s.listening.Load() {
			every = pollListening
		}
		now, moved := s.x.Moved()
		if now > rev {
			return nil
		}
		t := time.NewTimer(every)
		select {
		case <-moved:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-s.nudge:
			t.Stop()
		case <-t.C:
		}
		if err := s.refresh(ctx); err != nil {
			return err
		}
	}
}

// listen hears of the writes of other processes, until ctx ends.
func (s *Store) listen(ctx context.Context) {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	tell := func() {
		select {
		case s.nudge <- struct{}{}:
		default: // there is one already
		}
	}
	heard := func() {
		s.listening.Store(true)
		tell()
	}
	for wait := shortest; ctx.Err() == nil; wait = min(2*wait, longest) {
		// Why it does not work is of no interest: there is polling instead, and
		// that tells what is wrong with the database.
		_ = s.d.Listen(ctx, s.channel(), heard)
		if s.listening.Swap(false) {
			wait = shortest
			tell()
		}
		pause(ctx, wait)
	}
}

// channel is the name under which the processes on this store tell of writes.
func (s *Store) channel() string { return fmt.Sprintf("sluice_%x", s.id) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Defragment gives space back that removed rows had.
func (s *Store) Defragment(ctx context.Context) error {
	db := cmp.Or(s.d.Slow, s.d.Write)
	for _, q := range s.d.Defragment {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return s.d.Fault(err)
		}
	}
	return nil
}

// errClosed is about a store that was closed.
var errClosed = errors.New("the store is closed")

// Close ends what the store is doing. What is still asked of it fails.
func (s *Store) Close() error {
	s.stop()
	s.runs.Wait()
	return s.d.close()
}
