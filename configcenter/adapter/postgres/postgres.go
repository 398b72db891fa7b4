// Package postgres is the etcd adapter's store in a database of PostgreSQL. It
// does not know what is kept there.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/sqllog"
)

// schema is made by one process at a time: two that make the same table at once
// would disturb each other even with IF NOT EXISTS.
var schema = []string{
	"SELECT pg_advisory_lock(8315168)",
	`CREATE TABLE IF NOT EXISTS sluice_log (rev BIGINT NOT NULL, sub BIGINT NOT NULL, k BYTEA NOT NULL, v BYTEA NOT NULL,
		made BIGINT NOT NULL, times BIGINT NOT NULL, lease BIGINT NOT NULL, gone SMALLINT NOT NULL, PRIMARY KEY (rev, sub))`,
	`CREATE TABLE IF NOT EXISTS sluice_lease (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, ttl BIGINT NOT NULL, expires BIGINT NOT NULL)`,
	`CREATE INDEX IF NOT EXISTS sluice_lease_seq ON sluice_lease (seq)`,
	`CREATE TABLE IF NOT EXISTS sluice_state (one SMALLINT PRIMARY KEY, format SMALLINT NOT NULL, store BIGINT NOT NULL,
		rev BIGINT NOT NULL, compact BIGINT NOT NULL, leases BIGINT NOT NULL, floor BIGINT NOT NULL, notes BIGINT NOT NULL) WITH (fillfactor = 20)`,
	`CREATE TABLE IF NOT EXISTS sluice_note (name VARCHAR(64) NOT NULL PRIMARY KEY, v BYTEA NOT NULL)`,
	sqllog.StateMark,
	"SELECT pg_advisory_unlock(8315168)",
}

// session makes a connection durable, and lets the server end what a process
// that is gone has left locked. Queries are by primary key, whatever the
// statistics say of a table that was just made.
const session = `SELECT set_config('lock_timeout', '5s', false), set_config('idle_in_transaction_session_timeout', '10s', false),
	set_config('enable_seqscan', 'off', false),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)`

// readers is how many connections read at once.
const readers = 2

// dialTime bounds how long a connection may take to be made.
const dialTime = 5 * time.Second

// Open opens the database of a URL as libpq takes it, and makes the tables if
// there are none.
func Open(ctx context.Context, url string) (mvcc.Backend, error) {
	conf, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the URL of the database cannot be read: it should be like postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = dialTime
	}
	prepare := stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, session)
		return err
	})
	d := sqllog.Dialect{Write: stdlib.OpenDB(*conf, prepare), Read: stdlib.OpenDB(*conf, prepare),
		Schema: schema, Dollar: true, Fault: fault,
		Upsert:    " ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, ttl = excluded.ttl, expires = excluded.expires",
		Snapshot:  sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
		Isolation: sql.LevelReadCommitted, Lock: " FOR UPDATE",
		Notify: "SELECT pg_notify(?, (?::bigint)::text)", Listen: listener(conf),
		Defragment: []string{"VACUUM (FULL, ANALYZE) sluice_log"}}
	d.Write.SetMaxOpenConns(1)
	d.Read.SetMaxOpenConns(readers)
	d.Read.SetMaxIdleConns(readers)
	s, err := sqllog.Open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("the database %s on %s: %w", conf.Database, conf.Host, err)
	}
	return s, nil
}

// own is what a listener tells itself, to see that it is heard.
const own = "listening"

// alive is how often a connection that hears nothing is tried.
const alive = 15 * time.Second

func listener(conf *pgx.ConnConfig) func(context.Context, string, func()) error {
	return func(ctx context.Context, channel string, heard func()) error {
		c, err := pgx.ConnectConfig(ctx, conf.Copy())
		if err != nil {
			return err
		}
		defer c.Close(context.WithoutCancel(ctx)) // says goodbye, or just closes
		if _, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		tell := func() error { // a pooler may take LISTEN and never say anything
			_, err := c.Exec(ctx, "SELECT pg_notify($1, $2)", channel, own)
			return err
		}
		if err := tell(); err != nil {
			return err
		}
		answered := true
		for {
			wait, cancel := context.WithTimeout(ctx, alive)
			_, err := c.WaitForNotification(wait)
			cancel()
			switch {
			case err == nil:
				answered = true
				heard()
			case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || !answered:
				return err
			default:
				answered = false
				if err := tell(); err != nil {
					return err
				}
			}
		}
	}
}

// fault knows PostgreSQL's errors.
func fault(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		return fmt.Errorf("%w: %w", sqllog.ErrAgain, err)
	case "53100": // disk full
		return fmt.Errorf("%w: %w", mvcc.ErrNoSpace, err)
	case "54000": // program limit exceeded
		return fmt.Errorf("%w: %w", mvcc.ErrTooLarge, err)
	}
	return err
}
