package chaos

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for both sides, in the files that both read.
type authority struct {
	t    testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pair tls.Certificate // one that stays good, for the test itself
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(3 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, dir: t.TempDir(), key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	a.issue(time.Now().Add(time.Hour), "root") // the name makes the test that user
	if a.pair, err = tls.LoadX509KeyPair(a.path("cert.pem"), a.path("key.pem")); err != nil {
		t.Fatal(err)
	}
	a.issue(time.Now().Add(time.Hour), "member")
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// write puts a file in place in one step.
func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.path(name+".new"), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path(name+".new"), a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

// issue replaces the certificate; the key stays.
func (a *authority) issue(until time.Time, name string) {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{"localhost", "etcd.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("key.pem", "EC PRIVATE KEY", key)
	a.write("cert.pem", "CERTIFICATE", der)
}

// client is the test's own way in, whatever the files hold.
func (a *authority) client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.pair}, InsecureSkipVerify: true}
}

// TestLogin lets certificates expire and passwords change under gateways that
// talk to an etcd with mutual TLS and users.
func TestLogin(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	e := nodes(t, 1, "--client-cert-auth", "--trusted-ca-file", a.path("ca.pem"),
		"--cert-file", a.path("cert.pem"), "--key-file", a.path("key.pem"), "--auth-token-ttl", "2")[0]
	e.start()
	s := openStore(t, a.client(), e)
	s.seed(upstream(t))
	enableUsers(t, s)
	password := filepath.Join(a.dir, "password")
	write := func(text string) {
		if err := os.WriteFile(password, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	etcdConf := ", user: gateway, tls: {cert: " + a.path("cert.pem") + ", key: " + a.path("key.pem") + ", sni: etcd.test}"
	endpoint := []string{"https://" + e.near.addr()}
	f := newFleet(t, s, newTLSGateway(t, "one", endpoint, etcdConf, password, a), newTLSGateway(t, "two", endpoint, etcdConf, password, a))
	lost := func(s state) bool { return !s.Reachable }
	f.fault("tokens expired", func() int64 {
		last(3 * time.Second) // longer than a token lives
		e.near.cut()
		e.near.mend()
		return 0
	})
	f.fault("certificate expired and renewed", func() int64 {
		a.issue(time.Now().Add(-time.Hour), "member")
		e.near.cut()
		e.near.mend()
		f.await("the refusal", lost)
		s.mustPut("meanwhile")
		last(either(0, 20*time.Second))
		a.issue(time.Now().Add(time.Hour), "member")
		return 1
	})
	f.fault("password rotated", func() int64 {
		if _, err := s.client.UserChangePassword(context.Background(), "gateway", "second"); err != nil {
			t.Fatal(err)
		}
		e.near.cut()
		e.near.mend()
		f.await("the refusal", lost)
		s.mustPut("meanwhile")
		last(either(0, 20*time.Second))
		write("second")
		return 1
	})
	f.memory()
}

func newTLSGateway(t *testing.T, name string, endpoint []string, etcdConf, password string, a *authority) *gateway {
	t.Helper()
	return newGateway(t, name, endpoint, etcdConf, ", store_password_file: "+password, "ssl_trusted_certificate: "+a.path("ca.pem"))
}

func enableUsers(t *testing.T, s *store) {
	t.Helper()
	ctx := context.Background()
	for _, f := range []func() error{
		func() error { _, err := s.client.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := s.client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := s.client.UserAdd(ctx, "gateway", "first"); return err },
		func() error { _, err := s.client.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := s.client.RoleGrantPermission(ctx, "reader", prefix+"/", prefix+"0", 0)
			return err
		},
		func() error { _, err := s.client.UserGrantRole(ctx, "gateway", "reader"); return err },
		func() error { _, err := s.client.AuthEnable(ctx); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
}
