package mysql

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"sluice/configcenter/adapter/mvcc"
	"sluice/configcenter/adapter/sqllog"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ url, user, password, addr, db string }{
		{"root@127.0.0.1/sluice", "root", "", "127.0.0.1:3306", "sluice"},
		{"u:p%40ss@db.internal:4000/x?tls=true", "u", "p@ss", "db.internal:4000", "x"},
		{"u:p@ss@tcp(db.internal:4000)/x", "u", "p@ss", "db.internal:4000", "x"},
		{"u@unix(/run/mysqld/mysqld.sock)/x?tls=false", "u", "", "/run/mysqld/mysqld.sock", "x"},
		{"u:p@[::1]:3307/x", "u", "p", "[::1]:3307", "x"},
	} {
		c, err := parse(tt.url)
		if err != nil || c.User != tt.user || c.Passwd != tt.password || c.Addr != tt.addr || c.DBName != tt.db || c.ReadTimeout != readTime {
			t.Errorf("%s: %+v, %v", tt.url, c, err)
		}
	}
	for _, bad := range []string{"", "/", "secret", "u:secret@h", "u:secret@h/", "u:secret@h/x?tls=nonsense", "u:sec ret@h\x00/x", "u:secret@h/x?ssl-ca=/does/not/exist"} {
		c, err := parse(bad)
		if err == nil {
			t.Errorf("%q is taken: %+v", bad, c)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q shows the password: %v", bad, err)
		}
	}
}

// The server's certificate is compared with the host, whatever form that has.
func TestServerName(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	server := httptest.NewTLSServer(nil)
	server.Close()
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"db.internal": "db.internal", "db.internal:4000": "db.internal", "127.0.0.1": "127.0.0.1", "[::1]:3307": "::1"} {
		c, err := parse("u:p@" + addr + "/x?ssl-ca=" + url.QueryEscape(ca))
		if err != nil || c.TLS == nil || c.TLS.ServerName != want {
			t.Errorf("%s: %+v, %v", addr, c, err)
		}
	}
}

// The errors of TiDB, beside MySQL's, mean what they say there.
func TestFault(t *testing.T) {
	for number, want := range map[uint16]error{
		1205: sqllog.ErrAgain, // lock wait timeout
		1213: sqllog.ErrAgain, // deadlock
		8002: sqllog.ErrAgain, // TiDB: SELECT FOR UPDATE lost against another, optimistic
		8005: sqllog.ErrAgain, // TiDB: write conflict that it does not try again itself
		8022: sqllog.ErrAgain, // TiDB: commit failed and may be tried again
		8028: sqllog.ErrAgain, // TiDB: the schema changed meanwhile
		9007: sqllog.ErrAgain, // TiDB: write conflict
		1021: mvcc.ErrNoSpace, 1114: mvcc.ErrNoSpace,
		1153: mvcc.ErrTooLarge, 8004: mvcc.ErrTooLarge, 8025: mvcc.ErrTooLarge,
		8501: nil, // TiDB: whether it was committed is not known
		1045: nil, // access denied
	} {
		err := fault(fmt.Errorf("commit: %w", &mysql.MySQLError{Number: number}))
		for _, kind := range []error{sqllog.ErrAgain, mvcc.ErrNoSpace, mvcc.ErrTooLarge} {
			if errors.Is(err, kind) != (kind == want) {
				t.Errorf("%d: %v", number, err)
			}
		}
	}
	if !errors.Is(fault(mysql.ErrPktTooLarge), mvcc.ErrTooLarge) {
		t.Error("a large packet is not too large")
	}
}
