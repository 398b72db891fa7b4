// Package mysql is the etcd adapter's store in a database of MySQL, MariaDB or
// TiDB. It does not know what is kept there.
package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/sqllog"
)

// schema is made by one process at a time. Keys and values are bytes: no
// collation decides about them.
var schema = []string{
	"DO GET_LOCK('sluice', 10)",
	`CREATE TABLE IF NOT EXISTS sluice_log (rev BIGINT NOT NULL, sub BIGINT NOT NULL, k LONGBLOB NOT NULL, v LONGBLOB NOT NULL,
		made BIGINT NOT NULL, times BIGINT NOT NULL, lease BIGINT NOT NULL, gone SMALLINT NOT NULL, PRIMARY KEY (rev, sub)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS sluice_lease (id BIGINT NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, ttl BIGINT NOT NULL, expires BIGINT NOT NULL,
		KEY sluice_lease_seq (seq)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS sluice_state (one SMALLINT NOT NULL PRIMARY KEY, format SMALLINT NOT NULL, store BIGINT NOT NULL,
		rev BIGINT NOT NULL, compact BIGINT NOT NULL, leases BIGINT NOT NULL, floor BIGINT NOT NULL, notes BIGINT NOT NULL) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS sluice_note (name VARCHAR(64) NOT NULL PRIMARY KEY, v LONGBLOB NOT NULL) ENGINE=InnoDB`,
	sqllog.StateMark,
	"DO RELEASE_LOCK('sluice')",
}

// readers is how many connections read at once.
const readers = 2

// Open opens the database of a URL, and makes the tables if there are none. The
// URL is USER:PASSWORD@HOST:PORT/DATABASE, or the driver's own form, such as
// USER:PASSWORD@unix(/SOCKET)/DATABASE; both may have parameters of the driver.
func Open(ctx context.Context, url string) (mvcc.Backend, error) {
	conf, err := parse(url)
	if err != nil {
		return nil, err
	}
	tidb, err := settle(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("the database %s on %s: %w", conf.DBName, conf.Addr, err)
	}
	d := sqllog.Dialect{Schema: schema, Fault: fault, Lock: " FOR UPDATE", LockTail: " FOR UPDATE",
		Upsert:     " ON DUPLICATE KEY UPDATE seq = VALUES(seq), ttl = VALUES(ttl), expires = VALUES(expires)",
		Snapshot:   sql.TxOptions{Isolation: sql.LevelRepeatableRead},
		Defragment: []string{"OPTIMIZE TABLE sluice_log"}}
	if tidb {
		d.Defragment = nil // it gives space back by itself, and knows no such statement
	}
	patient := conf.Clone()
	patient.ReadTimeout = 0
	for db, conf := range map[**sql.DB]*mysql.Config{&d.Write: conf, &d.Read: conf, &d.Slow: patient} {
		c, err := mysql.NewConnector(conf)
		if err != nil {
			return nil, err
		}
		*db = sql.OpenDB(c)
		(*db).SetConnMaxIdleTime(idleTime / 2)
	}
	d.Write.SetMaxOpenConns(1)
	d.Read.SetMaxOpenConns(readers)
	d.Read.SetMaxIdleConns(readers)
	s, err := sqllog.Open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("the database %s on %s: %w", conf.DBName, conf.Addr, err)
	}
	return s, nil
}

// parse reads the URL; errors do not show it.
func parse(text string) (*mysql.Config, error) {
	bad := errors.New("the URL of the database cannot be read: it should be like mysql://USER:PASSWORD@HOST:PORT/DATABASE?tls=true")
	head, params, _ := strings.Cut(text, "?")
	files := map[string]string{}
	if q, err := url.ParseQuery(params); err == nil {
		for _, name := range []string{"ssl-ca", "ssl-cert", "ssl-key"} {
			if files[name] = q.Get(name); files[name] != "" {
				q.Del(name)
				params = q.Encode()
			}
		}
	}
	var conf *mysql.Config
	var err error
	if strings.HasSuffix(head[:strings.LastIndex(head, "/")+1], ")/") {
		conf, err = mysql.ParseDSN(head + "?" + params)
	} else {
		var u *url.URL
		if u, err = url.Parse("mysql://" + head); err != nil || u.Host == "" {
			return nil, bad
		}
		if conf, err = mysql.ParseDSN("tcp(" + u.Host + ")" + u.Path + "?" + params); err == nil {
			conf.User = u.User.Username()
			conf.Passwd, _ = u.User.Password()
		}
	}
	if err != nil || conf.DBName == "" {
		return nil, bad
	}
	if conf.ReadTimeout == 0 {
		conf.ReadTimeout = readTime
	}
	return conf, secure(conf, files)
}

// secure adds the files of the authority and of the client's certificate.
func secure(conf *mysql.Config, files map[string]string) error {
	ca, cert, key := files["ssl-ca"], files["ssl-cert"], files["ssl-key"]
	if ca == "" && cert == "" && key == "" {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if host, _, err := net.SplitHostPort(conf.Addr); err == nil && conf.Net == "tcp" {
		c.ServerName = host
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("ssl-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("ssl-ca: %s has no certificate", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("ssl-cert, ssl-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	conf.TLS = c
	return nil
}

// Times of a session. The server ends one that is silent for the idle time, so
// that a machine that vanished does not keep the lock of the state.
const (
	dialTime = 5 * time.Second
	idleTime = 30 * time.Second
	// readTime bounds how long a server may be silent. The driver ends statements
	// with their context, but not the end of a transaction: without a bound, a
	// server that vanished just then would be waited for until TCP gives up.
	readTime = 15 * time.Second
)

// settle sets up the sessions, as the kind of server needs it.
func settle(ctx context.Context, conf *mysql.Config) (tidb bool, err error) {
	if conf.Timeout == 0 {
		conf.Timeout = dialTime
	}
	conf.MaxAllowedPacket = 0 // as the server says
	conf.Logger = &mysql.NopLogger{}
	c, err := mysql.NewConnector(conf)
	if err != nil {
		return false, err
	}
	db := sql.OpenDB(c)
	defer db.Close() // it was only for one question
	var version string
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return false, err
	}
	if conf.Params == nil {
		conf.Params = map[string]string{}
	}
	conf.Params["innodb_lock_wait_timeout"] = "5"
	conf.Params["wait_timeout"] = fmt.Sprint(int(idleTime.Seconds()))
	if tidb = strings.Contains(version, "TiDB"); tidb {
		conf.Params["tidb_txn_mode"] = "'pessimistic'" // else the lock of the state would not lock
	}
	return tidb, nil
}

// again are the errors of a transaction that gave way: lock wait timeout,
// deadlock, and TiDB's write conflicts and changed schema.
var again = map[uint16]bool{1205: true, 1213: true, 8002: true, 8005: true, 8022: true, 8028: true, 9007: true}

// fault knows the errors of MySQL and of TiDB.
func fault(err error) error {
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return fmt.Errorf("%w: %w", mvcc.ErrTooLarge, err)
	}
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case again[e.Number]:
		return fmt.Errorf("%w: %w", sqllog.ErrAgain, err)
	case e.Number == 1021 || e.Number == 1114: // disk full, table full
		return fmt.Errorf("%w: %w", mvcc.ErrNoSpace, err)
	case e.Number == 1153 || e.Number == 1118 || e.Number == 1406 || e.Number == 8004 || e.Number == 8025: // packet, row, column, TiDB's transaction and entry too large
		return fmt.Errorf("%w: %w", mvcc.ErrTooLarge, err)
	}
	return err
}
