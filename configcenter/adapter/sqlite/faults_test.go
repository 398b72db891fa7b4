package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sqlitedriver "modernc.org/sqlite"

	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/sqllog"
)

// faults is a database that fails where a test wants it to.
type faults struct {
	driver.Connector
	mu   sync.Mutex
	next map[string]error // "begin", "commit", "committed", or a part of a statement
	seen map[string]int
}

// fail lets the next such thing fail.
func (f *faults) fail(where string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next[where] = err
}

func (f *faults) at(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for where, err := range f.next {
		if strings.Contains(what, where) {
			delete(f.next, where)
			f.seen[where]++
			return err
		}
	}
	return nil
}

func (f *faults) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	return &faultyConn{c, f}, err
}

type faultyConn struct {
	driver.Conn
	f *faults
}

func (c *faultyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.f.at("begin"); err != nil {
		return nil, err
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return &faultyTx{tx, c.f}, err
}

func (c *faultyConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, q)
	return &faultyStmt{s, q, c.f}, err
}

type faultyTx struct {
	driver.Tx
	f *faults
}

// Commit fails before or after it happens.
func (t *faultyTx) Commit() error {
	if err := t.f.at("commit "); err != nil {
		return errors.Join(err, t.Rollback())
	}
	return errors.Join(t.Tx.Commit(), t.f.at("committed"))
}

type faultyStmt struct {
	driver.Stmt
	query string
	f     *faults
}

func (s *faultyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.f.at(s.query); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// errStale is not an error: the query finds nothing.
var errStale = errors.New("stale")

func (s *faultyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	err := s.f.at(s.query)
	if err == errStale {
		args[0].Value, err = int64(1)<<60, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// open opens a store on a database that can be made to fail.
func open(t *testing.T, path string) (*sqllog.Store, *faults) {
	t.Helper()
	c, err := sqlitedriver.NewConnector(source(path))
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{Connector: c, next: map[string]error{}, seen: map[string]int{}}
	d := dialect()
	d.Write, d.Read = sql.OpenDB(f), sql.OpenDB(f)
	d.Write.SetMaxOpenConns(1)
	plain := d.Fault
	d.Fault = func(err error) error {
		if errors.Is(err, errConflict) {
			return fmt.Errorf("%w: %w", sqllog.ErrAgain, err)
		}
		return plain(err)
	}
	s, err := sqllog.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, f
}

// What a database may say: another one won, as TiDB's 9007; or it is gone.
var (
	errConflict = errors.New("write conflict")
	errGone     = errors.New("connection reset by peer")
)

// put appends a row, and returns how often it had to.
func put(ctx context.Context, s *sqllog.Store, key, value string) (runs int, err error) {
	err = s.Update(ctx, func(tx mvcc.WriteTx) error {
		runs++
		rev := tx.State().Rev + 1
		return tx.Append(mvcc.Row{Rev: rev, Key: []byte(key), Value: []byte(value), Create: rev, Version: 1})
	})
	return runs, err
}

func get(t *testing.T, s *sqllog.Store, key string) (value string, rev int64) {
	t.Helper()
	err := s.View(t.Context(), func(tx mvcc.Tx) error {
		rev = tx.State().Rev
		rows, err := tx.Range(mvcc.NewSpan([]byte(key), nil), rev, 1, true)
		if len(rows) > 0 {
			value = string(rows[0].Value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value, rev
}

// A transaction that gave way, or whose connection was dead before the commit,
// is made again: once in the end, with the next revision.
func TestWriteAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, f := open(t, path)
	rev := int64(1)
	for _, where := range []string{"begin", "FROM sluice_state", "INSERT INTO sluice_log", "UPDATE sluice_state", "commit "} {
		for _, err := range []error{errConflict, errGone} {
			if where == "commit " && err == errGone {
				continue // see TestCommitUnknown
			}
			f.fail(where, err)
			if _, err := put(t.Context(), s, "/key", where); err != nil {
				t.Errorf("%s fails with %v: %v", where, err, err)
			}
			rev++
			if v, r := get(t, s, "/key"); v != where || r != rev || f.seen[where] == 0 {
				t.Errorf("%s fails with %v: revision %d with %q, want %d", where, err, r, v, rev)
			}
			clear(f.seen)
		}
	}
	other, _ := open(t, path)
	if _, r := get(t, other, "/key"); r != rev {
		t.Errorf("the database is at revision %d, want %d", r, rev)
	}
}

// Of a commit without an answer it is not known whether it happened. It is
// never made again, and afterwards everybody sees what the database has.
func TestCommitUnknown(t *testing.T) {
	s, f := open(t, filepath.Join(t.TempDir(), "store"))
	for where, want := range map[string]string{"commit ": "before", "committed": "after"} {
		if _, err := put(t.Context(), s, "/key", "before"); err != nil {
			t.Fatal(err)
		}
		_, rev := get(t, s, "/key")
		f.fail(where, errGone)
		if runs, err := put(t.Context(), s, "/key", "after"); err == nil || runs != 1 {
			t.Errorf("%s: %d runs, %v", where, runs, err)
		}
		if want == "after" {
			rev++
		}
		if v, r := get(t, s, "/key"); v != want || r != rev {
			t.Errorf("%s: %q at %d, want %q at %d", where, v, r, want, rev)
		}
	}
}

// A database whose queries see less than the state that is locked, as TiDB's
// may within one transaction, is not believed.
func TestStaleRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	a, f := open(t, path)
	b, _ := open(t, path)
	for i := range 6 {
		if _, err := put(t.Context(), b, "/key", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		f.fail("FROM sluice_log", errStale)
		if i%2 == 0 {
			if _, err := put(t.Context(), a, "/other", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if v, _ := get(t, a, "/key"); v != fmt.Sprint(i) || f.seen["FROM sluice_log"] == 0 {
			t.Errorf("%q, want %d", v, i)
		}
		clear(f.seen)
	}
}

// A database that lost what it had, or is another one, is told from the one
// that it was; nothing is read from it or written to it.
func TestOtherDatabase(t *testing.T) {
	for _, statement := range []string{"UPDATE sluice_state SET rev = rev - 1", "UPDATE sluice_state SET store = store + 1"} {
		path := filepath.Join(t.TempDir(), "store")
		s, _ := open(t, path)
		if _, err := put(t.Context(), s, "/key", "value"); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", source(path))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		if _, err := put(t.Context(), s, "/key", "value"); err == nil {
			t.Errorf("%s: a write goes through", statement)
		}
		if err := s.View(t.Context(), func(mvcc.Tx) error { return nil }); err == nil {
			t.Errorf("%s: a read goes through", statement)
		}
	}
}

// A database that went back is not believed again when others have written so
// much that it is ahead: what is known is not its history.
func TestWentBackAndOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, _ := open(t, path)
	for _, value := range []string{"kept", "lost"} {
		if _, err := put(t.Context(), s, "/key", value); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{"DELETE FROM sluice_log WHERE rev = 3", "UPDATE sluice_state SET rev = 2"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	look := func(mvcc.Tx) error { return nil }
	if err := s.View(t.Context(), look); err == nil {
		t.Error("a read goes through")
	}
	other, _ := open(t, path)
	for range 3 {
		if _, err := put(t.Context(), other, "/other", "value"); err != nil {
			t.Fatal(err)
		}
	}
	_, write := put(t.Context(), s, "/key", "value")
	for what, err := range map[string]error{
		"a read": s.View(t.Context(), look), "a write": write, "a look at what is known": s.Peek(look), "a follower": s.Wait(t.Context(), 99),
	} {
		if err == nil || !strings.Contains(err.Error(), "start anew") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Tables of a later version are left alone.
func TestLaterVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	open(t, path)
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{"UPDATE sluice_state SET format = 99", "DROP TABLE sluice_note"} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("opened: %v", err)
	}
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM sqlite_master WHERE name = 'sluice_note'").Scan(&n); err != nil || n != 0 {
		t.Errorf("a table of this version was made: %d, %v", n, err)
	}
}

// Compacted rows leave the database in the background, also those that a
// process did not come to.
func TestCompactedRowsGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, f := open(t, path)
	for i := range 300 {
		if _, err := put(t.Context(), s, fmt.Sprint("/", i%3), "value"); err != nil {
			t.Fatal(err)
		}
	}
	f.fail("DELETE FROM sluice_log", errGone)
	err := s.Update(t.Context(), func(tx mvcc.WriteTx) error { return tx.Compact(tx.State().Rev) })
	if err != nil {
		t.Fatal(err)
	}
	if v, rev := get(t, s, "/1"); v != "value" || rev != 301 {
		t.Errorf("%q at %d", v, rev)
	}
	late, _ := open(t, path)
	get(t, late, "/1")
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n != 3; {
		if err := db.QueryRow("SELECT COUNT(*) FROM sluice_log").Scan(&n); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d rows are left, want 3", n)
		}
	}
}

// Who no longer waits for an update is not waited for either, and the update
// does not touch what he left.
func TestUpdateLeft(t *testing.T) {
	s, _ := open(t, filepath.Join(t.TempDir(), "store"))
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	go func() { <-began; cancel() }()
	if err := s.Update(ctx, func(tx mvcc.WriteTx) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, rev := get(t, s, "/key"); rev != 1 {
		t.Errorf("revision %d", rev)
	}
	cancel()
	if _, err := put(ctx, s, "/key", "value"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The file is its owner's only.
func TestFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?%# store")
	b, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}
