// Package sqlite is the etcd adapter's store in a file of SQLite. Several
// processes of one machine may have it open. It does not know what is kept
// there.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/sqllog"
)

// schema is made within one transaction: SQLite lets nobody else write then.
var schema = []string{
	"BEGIN IMMEDIATE",
	`CREATE TABLE IF NOT EXISTS sluice_log (rev INTEGER NOT NULL, sub INTEGER NOT NULL, k BLOB NOT NULL, v BLOB NOT NULL,
		made INTEGER NOT NULL, times INTEGER NOT NULL, lease INTEGER NOT NULL, gone INTEGER NOT NULL, PRIMARY KEY (rev, sub)) WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS sluice_lease (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, ttl INTEGER NOT NULL, expires INTEGER NOT NULL)`,
	`CREATE INDEX IF NOT EXISTS sluice_lease_seq ON sluice_lease (seq)`,
	`CREATE TABLE IF NOT EXISTS sluice_state (one INTEGER PRIMARY KEY, format INTEGER NOT NULL, store INTEGER NOT NULL,
		rev INTEGER NOT NULL, compact INTEGER NOT NULL, leases INTEGER NOT NULL, floor INTEGER NOT NULL, notes INTEGER NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS sluice_note (name TEXT PRIMARY KEY, v BLOB NOT NULL)`,
	sqllog.StateMark,
	"COMMIT",
}

// readers is how many connections read at once.
const readers = 2

// Open opens the file, and makes it if there is none: for its owner only.
func Open(ctx context.Context, path string) (mvcc.Backend, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	name := source(path)
	d := dialect()
	if d.Write, err = sql.Open("sqlite", name); err != nil {
		return nil, err
	}
	if d.Read, err = sql.Open("sqlite", name); err != nil {
		return nil, errors.Join(err, d.Write.Close())
	}
	d.Write.SetMaxOpenConns(1)
	d.Read.SetMaxOpenConns(readers)
	d.Read.SetMaxIdleConns(readers)
	s, err := sqllog.Open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// source is the driver's name of a file. Every commit is on the disk before it
// is answered. Who wants to write waits for other writers, for as long as a
// request may take.
func source(path string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}}.Encode()}).String()
}

// dialect is SQLite's, without a database.
func dialect() sqllog.Dialect {
	return sqllog.Dialect{Schema: schema, Fault: fault, Snapshot: sql.TxOptions{ReadOnly: true},
		Upsert:     " ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, ttl = excluded.ttl, expires = excluded.expires",
		Defragment: []string{"PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"}}
}

// fault knows SQLite's errors.
func fault(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", sqllog.ErrAgain, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", mvcc.ErrNoSpace, err)
	case sqlite3.SQLITE_TOOBIG:
		return fmt.Errorf("%w: %w", mvcc.ErrTooLarge, err)
	}
	return err
}
