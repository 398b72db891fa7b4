package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/configcenter/resource"
)

// issued is a certificate with its key, as PEM and ready for use.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
	kpem string
}

func (i *issued) pair(chain ...*issued) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.cert.Raw)
	}
	return c
}

// issue makes a certificate signed by parent, or by itself.
func issue(t testing.TB, parent *issued, ca bool, key crypto.Signer, names ...string) *issued {
	t.Helper()
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = k
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: strings.Join(names, ",")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, IsCA: ca, BasicConstraintsValid: true}
	if ca {
		tmpl.KeyUsage |= x509.KeyUsageCertSign
	} else {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	signer, by := key, tmpl
	if parent != nil {
		signer, by = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))}
}

func ssl(id string, c *issued, names ...string) *resource.SSL {
	return &resource.SSL{Meta: resource.Meta{ID: resource.ID(id)}, Cert: c.pem, Key: c.kpem, SNIs: names}
}

func store(t testing.TB, o *Options, items ...*resource.SSL) *Store {
	t.Helper()
	s, errs := New(nil, items, o)
	for _, err := range errs {
		t.Fatal(err)
	}
	return s
}

// shake does a handshake and one exchange of bytes, so that the client sees
// alerts that come late.
func shake(t testing.TB, s *Store, cc *tls.Config) (client, server tls.ConnectionState, err error) {
	t.Helper()
	cc.InsecureSkipVerify = true
	ln, lerr := net.Listen("tcp", "127.0.0.1:0")
	if lerr != nil {
		t.Fatal(lerr)
	}
	defer ln.Close()
	result := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			result <- err
			return
		}
		srv := tls.Server(c, &tls.Config{GetConfigForClient: s.GetConfigForClient})
		defer srv.Close()
		if err := srv.Handshake(); err != nil {
			result <- err
			return
		}
		server = srv.ConnectionState()
		_, err = srv.Write([]byte("x"))
		result <- err
	}()
	c, derr := tls.Dial("tcp", ln.Addr().String(), cc)
	if derr == nil {
		if _, derr = io.ReadFull(c, make([]byte, 1)); derr == io.EOF {
			derr = errors.New("closed without a word")
		}
		client = c.ConnectionState()
		_ = c.Close()
	}
	if serr := <-result; serr != nil {
		return client, server, serr
	}
	return client, server, derr
}

func TestMatch(t *testing.T) {
	c := issue(t, nil, false, nil, "x")
	s := store(t, &Options{}, ssl("exact", c, "a.test.com"), ssl("wild", c, "*.test.com"), ssl("glued", c, "*foo.com"),
		ssl("second", c, "a.test.com"), ssl("dot", c, "Dot.Test.COM."), ssl("com", c, "*.com"))
	for name, want := range map[string]string{"a.test.com": "exact", "b.test.com": "wild", "test.com": "com", "a.b.test.com": "",
		"xfoo.com": "glued", "foo.com": "glued", "x.foo.com": "", "dot.test.com": "dot", "a.org": "", "com": "", ".test.com": "", "": ""} {
		got := ""
		if e := s.match(name); e != nil {
			got = string(e.def.ID)
		}
		if got != want {
			t.Errorf("%q is served by %q, want %q", name, got, want)
		}
	}
	all := store(t, &Options{}, ssl("all", c, "*"), ssl("wild", c, "*.test.com"))
	if e := all.match("a.b.test.com"); e == nil || e.def.ID != "all" {
		t.Error("a star alone does not serve everything")
	}
	if s.Len() != 6 || len(s.Names()) != 5 {
		t.Errorf("%d objects, names %v", s.Len(), s.Names())
	}
}

func TestHandshake(t *testing.T) {
	a, b := issue(t, nil, false, nil, "a.com"), issue(t, nil, false, nil, "b.com")
	o := &Options{FallbackSNI: "b.com", NextProtos: []string{"h2", "http/1.1"}}
	s := store(t, o, ssl("1", a, "a.com"), ssl("2", b, "b.com"))
	for name, want := range map[string]*issued{"a.com": a, "A.com": a, "b.com": b, "": b} {
		c, _, err := shake(t, s, &tls.Config{ServerName: name, NextProtos: []string{"h2"}})
		if err != nil || !c.PeerCertificates[0].Equal(want.cert) || c.NegotiatedProtocol != "h2" {
			t.Errorf("%q: %v, protocol %q", name, err, c.NegotiatedProtocol)
		}
	}
	_, _, err := shake(t, s, &tls.Config{ServerName: "c.com"})
	if err == nil || err.Error() != "failed to match any SSL certificate by SNI: c.com" {
		t.Errorf("unknown name: %v", err)
	}
	if _, _, err := shake(t, store(t, &Options{}, ssl("1", a, "a.com")), &tls.Config{}); err == nil {
		t.Error("no name was accepted")
	}
}

func TestSeveralCertificates(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r, e := issue(t, nil, false, k, "a.com"), issue(t, nil, false, nil, "other.com")
	def := ssl("1", r, "a.com")
	def.Certs, def.Keys = []string{e.pem}, []string{e.kpem}
	s := store(t, &Options{}, def)
	c, _, err := shake(t, s, &tls.Config{ServerName: "a.com"})
	if err != nil || !c.PeerCertificates[0].Equal(e.cert) {
		t.Errorf("a client of both kinds did not get the ECDSA certificate: %v", err)
	}
	c, _, err = shake(t, s, &tls.Config{ServerName: "a.com", MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
	if err != nil || !c.PeerCertificates[0].Equal(r.cert) {
		t.Errorf("a client of RSA only: %v", err)
	}
}

func TestProtocols(t *testing.T) {
	c := issue(t, nil, false, nil, "a.com")
	only12, gap := ssl("1", c, "a.com"), ssl("2", c, "b.com")
	only12.SSLProtocols, gap.SSLProtocols = []string{"TLSv1.2"}, []string{"TLSv1.3", "TLSv1.1"}
	s := store(t, &Options{Protocols: []string{"TLSv1.3"}}, only12, gap, ssl("3", c, "c.com"))
	for _, x := range []struct {
		name string
		max  uint16
		want uint16
	}{{"a.com", tls.VersionTLS13, tls.VersionTLS12}, {"b.com", tls.VersionTLS13, tls.VersionTLS13}, {"b.com", tls.VersionTLS11, tls.VersionTLS11},
		{"c.com", tls.VersionTLS13, tls.VersionTLS13}, {"c.com", tls.VersionTLS12, 0}} {
		st, _, err := shake(t, s, &tls.Config{ServerName: x.name, MinVersion: tls.VersionTLS10, MaxVersion: x.max})
		if (err == nil) != (x.want != 0) || err == nil && st.Version != x.want {
			t.Errorf("%s up to %x: version %x, %v", x.name, x.max, st.Version, err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ca := issue(t, nil, true, nil, "ca")
	mid := issue(t, ca, true, nil, "mid")
	low := issue(t, mid, true, nil, "low")
	good, deep, bad := issue(t, ca, false, nil, "c"), issue(t, low, false, nil, "d"), issue(t, nil, false, nil, "e")
	srv := issue(t, nil, false, nil, "a.com")
	def := ssl("1", srv, "a.com")
	def.Client = &resource.SSLClient{CA: ca.pem}
	s := store(t, &Options{Tickets: true}, def, ssl("2", srv, "plain.com"))
	for name, x := range map[string]struct {
		cert tls.Certificate
		ok   bool
	}{"good": {good.pair(), true}, "none": {tls.Certificate{}, false}, "unknown": {bad.pair(), false}, "two between": {deep.pair(low, mid), false},
		"one between": {issue(t, mid, false, nil, "f").pair(mid), true}} {
		cc := &tls.Config{ServerName: "a.com"}
		if x.cert.Certificate != nil {
			cc.Certificates = []tls.Certificate{x.cert}
		}
		_, st, err := shake(t, s, cc)
		if (err == nil) != x.ok {
			t.Errorf("%s: handshake %v", name, err)
		}
		if err == nil && s.VerifyRequest(&st, "a.com:443", "/") != 0 {
			t.Errorf("%s: the request was refused", name)
		}
	}
	_, plain, err := shake(t, s, &tls.Config{ServerName: "plain.com"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{"plain.com": 0, "a.com": 400, "A.com:443": 400, "a.com.": 400, "none.com": 0, "": 0} {
		if got := s.VerifyRequest(&plain, host, "/"); got != want {
			t.Errorf("name plain.com, host %q: %d, want %d", host, got, want)
		}
	}
	if s.VerifyRequest(nil, "a.com", "/") != 0 {
		t.Error("a plain connection was refused")
	}
	// The version changed while the connection lived: it showed no certificate.
	strict := ssl("2", srv, "plain.com")
	strict.Client = def.Client
	if got := store(t, &Options{}, strict).VerifyRequest(&plain, "plain.com", "/"); got != 400 {
		t.Errorf("an old connection got %d", got)
	}
}

func TestSkipByPath(t *testing.T) {
	ca := issue(t, nil, true, nil, "ca")
	good, bad := issue(t, ca, false, nil, "c"), issue(t, nil, false, nil, "e")
	def := ssl("1", issue(t, nil, false, nil, "a.com"), "a.com")
	def.Client = &resource.SSLClient{CA: ca.pem, SkipMTLSURIRegex: []string{"^/open"}}
	s := store(t, &Options{}, def)
	for name, x := range map[string]struct {
		certs []tls.Certificate
		want  int
	}{"good": {[]tls.Certificate{good.pair()}, 0}, "none": {nil, 400}, "bad": {[]tls.Certificate{bad.pair()}, 400}} {
		_, st, err := shake(t, s, &tls.Config{ServerName: "a.com", Certificates: x.certs})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for range 2 {
			if got := s.VerifyRequest(&st, "a.com", "/x"); got != x.want {
				t.Errorf("%s: /x %d, want %d", name, got, x.want)
			}
			if got := s.VerifyRequest(&st, "a.com", "/open/x"); got != 0 {
				t.Errorf("%s: /open/x %d", name, got)
			}
		}
	}
}

func TestTicketsStayWithTheirName(t *testing.T) {
	c := issue(t, nil, false, nil, "a.com")
	for _, tickets := range []bool{true, false} {
		s := store(t, &Options{Tickets: tickets}, ssl("1", c, "a.com", "b.com"))
		cache := oneSession{tls.NewLRUClientSessionCache(1)}
		for i, x := range []struct {
			name   string
			resume bool
		}{{"a.com", false}, {"a.com", true}, {"b.com", false}} {
			st, _, err := shake(t, s, &tls.Config{ServerName: x.name, ClientSessionCache: cache})
			if err != nil || st.DidResume != (x.resume && tickets) {
				t.Errorf("tickets %v, step %d: resumed %v, %v", tickets, i, st.DidResume, err)
			}
		}
	}
}

// oneSession offers the same session to every name, as an attacker would.
type oneSession struct{ tls.ClientSessionCache }

func (o oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.ClientSessionCache.Get("x") }
func (o oneSession) Put(_ string, s *tls.ClientSessionState)    { o.ClientSessionCache.Put("x", s) }

func TestNextVersionTakesOver(t *testing.T) {
	c := issue(t, nil, false, nil, "a.com")
	a, b, o := ssl("1", c, "a.com"), ssl("2", c, "b.com"), &Options{}
	one := store(t, o, a, b)
	off, cl := ssl("3", c, "c.com"), ssl("4", c, "d.com")
	zero := 0
	off.Status, cl.Type = &zero, "client"
	two, errs := New(one, []*resource.SSL{a, ssl("2", c, "b.com"), off, cl}, o)
	if len(errs) > 0 || two.Len() != 2 {
		t.Fatal(errs, two.Len())
	}
	if two.entries[0] != one.entries[0] || two.entries[1] == one.entries[1] {
		t.Error("unchanged objects are not shared, or changed ones are")
	}
}

func TestCheck(t *testing.T) {
	c, d := issue(t, nil, false, nil, "a.com"), issue(t, nil, false, nil, "b.com")
	for want, change := range map[string]func(*resource.SSL){
		"":                                    func(*resource.SSL) {},
		"failed to parse cert":                func(s *resource.SSL) { s.Cert = "x" },
		"failed to parse key":                 func(s *resource.SSL) { s.Key = "x" },
		"failed to parse key: tls: private":   func(s *resource.SSL) { s.Key = d.kpem },
		"mismatched number of certs and keys": func(s *resource.SSL) { s.Certs = []string{c.pem} },
		"failed to handle cert-key pair[1]: failed to parse cert": func(s *resource.SSL) { s.Certs, s.Keys = []string{"x"}, []string{"y"} },
		"failed to validate client_cert: failed to parse cert":    func(s *resource.SSL) { s.Client = &resource.SSLClient{CA: "x"} },
		"skip_mtls_uri_regex \"(\"":                               func(s *resource.SSL) { s.Client = &resource.SSLClient{CA: c.pem, SkipMTLSURIRegex: []string{"("}} },
	} {
		def := ssl("1", c, "a.com")
		change(def)
		err := Check(def)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	s, errs := New(nil, []*resource.SSL{ssl("bad", &issued{pem: "x"}, "x.com"), ssl("ok", c, "a.com")}, &Options{Ciphers: "NONE", Protocols: []string{"SSLv2"}})
	if len(errs) != 3 || s.Len() != 1 {
		t.Errorf("%d usable, errors %v", s.Len(), errs)
	}
}

func BenchmarkMatch(b *testing.B) {
	c := issue(b, nil, false, nil, "x")
	s := store(b, &Options{}, ssl("1", c, "a.test.com"), ssl("2", c, "*.test.com"))
	st := &tls.ConnectionState{ServerName: "a.test.com"}
	b.Run("wildcard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.match("some-name.test.com")
		}
	})
	b.Run("VerifyRequest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.VerifyRequest(st, "a.test.com:443", "/")
		}
	})
}
