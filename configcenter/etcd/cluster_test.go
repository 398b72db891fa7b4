package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"sluice/configcenter"
	"sluice/configcenter/contract"
)

// Configuration takes one connection, and so does the Admin API, however many
// endpoints there are.
func TestTwoConnections(t *testing.T) {
	var all []*proxy
	var urls []string
	for range 3 {
		p := newProxy(t, server.URL())
		all, urls = append(all, p), append(urls, p.url())
	}
	c := open(t, Config{Endpoints: urls, Prefix: own(t).Prefix()})
	f := contract.Follow(t, c)
	for i := range 20 {
		contract.Put(t, c, fmt.Sprint(i), "x")
	}
	f.AwaitLen(20)
	if n := taken(all); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func taken(all []*proxy) (n int) {
	for _, p := range all {
		p.mu.Lock()
		n += len(p.conns) / 2
		p.mu.Unlock()
	}
	return n
}

// Endpoints are left when they fail, whatever way, and used again.
func TestEndpointsAreLeftAndRetried(t *testing.T) {
	one, two := newProxy(t, server.URL()), newProxy(t, server.URL())
	store := own(t)
	c := open(t, Config{Endpoints: []string{one.url(), two.url()}, Prefix: store.Prefix(), HealthTimeout: 300 * time.Millisecond})
	f := contract.Follow(t, c)
	n := 0
	check := func() {
		t.Helper()
		n++
		contract.Put(t, c, fmt.Sprint(n), "x") // the Admin API's connection
		f.AwaitLen(n)
	}
	check()
	for _, p := range []*proxy{one, two} { // as after a silence of each
		c.answering.Store(p.url(), true)
	}
	for range 2 {
		one.cut()
		check()
		one.to(server.URL())
		two.cut()
		check()
		two.to(server.URL())
	}
	for _, p := range []*proxy{one, two} {
		p.freeze()
		contract.Put(t, store, fmt.Sprint("frozen", n), "x")
		n++
		f.AwaitLen(n)
		p.cut()
		p.to(server.URL())
	}
	f.Await("no reload", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 1 })
}

// A store that lost all its data does not take the configuration away.
func TestEmptiedStoreKeepsTheConfiguration(t *testing.T) {
	s := start(t, t.TempDir())
	p := newProxy(t, s.URL())
	c := open(t, Config{Endpoints: []string{p.url()}})
	f := contract.Follow(t, c)
	contract.Put(t, c, "1", "kept")
	f.AwaitLen(1)
	s.Stop()
	s = start(t, t.TempDir())
	defer s.Stop()
	p.to(s.URL())
	f.Await("the loss", func(_ *configcenter.Snapshot, _ int, errs []error) bool {
		return len(errs) > 0 && strings.Contains(errs[len(errs)-1].Error(), "no key below /apisix any more")
	})
	f.AwaitLen(1)
	contract.Put(t, c, "2", "new")
	f.AwaitRoute("2", "new")
	f.AwaitLen(1)
}

// A password is rotated: tokens end, and the new one comes from the file.
func TestPasswordIsRotated(t *testing.T) {
	s := start(t, t.TempDir())
	defer s.Stop()
	p := newProxy(t, s.URL())
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	admin := raw(t, s.URL())
	for _, err := range []error{
		second(admin.UserAdd(t.Context(), "root", "first")),
		second(admin.UserGrantRole(t.Context(), "root", "root")),
		second(admin.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	c := open(t, Config{Endpoints: []string{p.url()}, User: "root", PasswordFile: file})
	f := contract.Follow(t, c)
	contract.Put(t, c, "1", "a")
	f.AwaitLen(1)
	rooted, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Username: "root", Password: "first"})
	if err != nil {
		t.Fatal(err)
	}
	defer rooted.Close()
	if _, err := rooted.UserChangePassword(t.Context(), "root", "second"); err != nil {
		t.Fatal(err)
	}
	p.cut() // the watch under way would go on
	p.to(s.URL())
	f.Await("a refusal", func(_ *configcenter.Snapshot, _ int, errs []error) bool {
		return len(errs) > 0 && strings.Contains(errs[len(errs)-1].Error(), "authentication failed")
	})
	write("second")
	contract.Put(t, c, "2", "b")
	f.AwaitLen(2)
}

// issue makes an authority's file, and a certificate of it that ends at until.
func issue(t *testing.T, dir string, until time.Time) {
	t.Helper()
	caKey, ca := authority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"etcd.test"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: ca.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func authority(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate) {
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
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// The gateway's and the server's certificates expire and are renewed by another
// authority, without a restart.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir, time.Now().Add(time.Hour))
	files := TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem"), SNI: "etcd.test"}
	p := newProxy(t, server.URL())
	p.serve(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := files.Load()
		if err != nil {
			return nil, err
		}
		return &tls.Config{Certificates: c.Certificates, ClientCAs: c.RootCAs, ClientAuth: tls.RequireAndVerifyClientCert,
			NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}, nil
	}})
	store := own(t)
	c := open(t, Config{Endpoints: []string{strings.Replace(p.url(), "http:", "https:", 1)}, TLS: files.Load, Prefix: store.Prefix()})
	f := contract.Follow(t, c)
	contract.Put(t, store, "1", "a")
	f.AwaitLen(1)
	issue(t, dir, time.Now().Add(-time.Hour))
	p.cut()
	p.to(server.URL())
	f.Await("a refusal", func(_ *configcenter.Snapshot, _ int, errs []error) bool {
		return len(errs) > 0 && strings.Contains(errs[len(errs)-1].Error(), "expired")
	})
	contract.Put(t, store, "2", "b")
	issue(t, dir, time.Now().Add(time.Hour))
	f.AwaitLen(2)
	contract.Put(t, c, "3", "c")
	f.AwaitLen(3)
}

// The load is a stream where the server has it, and pages of one revision where
// not; both give the same.
func TestStreamAndPagesAgree(t *testing.T) {
	c := own(t)
	for i := range 30 {
		contract.Put(t, c, fmt.Sprint(i), "x")
	}
	var sums [2]*ledger
	for i, read := range []func(context.Context, *link, string, func(*mvccpb.KeyValue)) (version, error){
		c.streamed,
		func(ctx context.Context, l *link, from string, take func(*mvccpb.KeyValue)) (version, error) {
			return c.pages(ctx, l, from, take)
		},
	} {
		sums[i] = newLedger()
		if i > 0 {
			sums[i].seed = sums[0].seed
		}
		at, err := read(t.Context(), c.admin, c.cfg.Prefix+"/", sums[i].put)
		if err != nil || at.rev == 0 || at.cluster == 0 {
			t.Fatalf("%d: %+v, %v", i, at, err)
		}
	}
	if len(sums[0].revs) != 30 || sums[0].sum != sums[1].sum {
		t.Errorf("%d keys in the stream, %d in pages", len(sums[0].revs), len(sums[1].revs))
	}
}

// oldServer knows no RangeStream, has no leader, or both.
type oldServer struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedMaintenanceServer
}

func (oldServer) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{}, nil
}

func (oldServer) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 7, Revision: 9}, Count: 1,
		Kvs: []*mvccpb.KeyValue{{Key: append(r.Key, "routes/1"...), Value: contract.Route("old"), CreateRevision: 2, ModRevision: 2}}}, nil
}

func (oldServer) Watch(s grpc.BidiStreamingServer[etcdserverpb.WatchRequest, etcdserverpb.WatchResponse]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	return s.Send(&etcdserverpb.WatchResponse{Canceled: true, CancelReason: "etcdserver: no leader"})
}

// A server of before 3.7 is read in pages. One without a leader cancels the
// watch: it is tried again, and what it said before stays.
func TestServerWithoutLeader(t *testing.T) {
	g := grpc.NewServer()
	etcdserverpb.RegisterKVServer(g, oldServer{})
	etcdserverpb.RegisterWatchServer(g, oldServer{})
	etcdserverpb.RegisterMaintenanceServer(g, oldServer{})
	l := listen(t)
	go g.Serve(l) // ends with Stop
	defer g.Stop()
	c := open(t, Config{Endpoints: []string{"http://" + l.Addr().String()}})
	f := contract.Follow(t, c)
	f.AwaitRoute("1", "old")
	f.Await("no leader", func(_ *configcenter.Snapshot, full int, errs []error) bool {
		return full == 1 && len(errs) > 2 && strings.Contains(errs[0].Error(), "no leader")
	})
}
