package t

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// authority signs the certificates of a scenario.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	env  map[string]string // texts for JSON: NAME_CERT, NAME_KEY, CA_CERT
	pems map[string][2]string
}

func newAuthority() (*authority, error) {
	a := &authority{env: map[string]string{}, pems: map[string][2]string{}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scenario"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, key, err := sign(template, template, nil)
	if err != nil {
		return nil, err
	}
	a.key = key
	a.cert, err = x509.ParseCertificate(der)
	a.env["CA_CERT"] = forJSON(pemText("CERTIFICATE", der))
	return a, err
}

func sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	return der, key, err
}

// issue makes a certificate for hosts, good for servers and clients.
func (a *authority) issue(name string, hosts []string) error {
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(a.pems) + 2)), Subject: pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, key, err := sign(template, a.cert, a.key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	pair := [2]string{pemText("CERTIFICATE", der), pemText("PRIVATE KEY", keyDER)}
	a.pems[name] = pair
	a.env[strings.ToUpper(name)+"_CERT"], a.env[strings.ToUpper(name)+"_KEY"] = forJSON(pair[0]), forJSON(pair[1])
	return nil
}

func (a *authority) pair(name string) (tls.Certificate, error) {
	if a == nil || a.pems[name][0] == "" {
		return tls.Certificate{}, fmt.Errorf("there is no certificate %q: make it with cert", name)
	}
	return tls.X509KeyPair([]byte(a.pems[name][0]), []byte(a.pems[name][1]))
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// forJSON is text as it stands inside a JSON string.
func forJSON(text string) string {
	b, _ := json.Marshal(text)
	return string(b[1 : len(b)-1])
}

// cert NAME HOST… makes a certificate of the scenario's own CA. $NAME_CERT and
// $NAME_KEY (NAME in capitals) and $CA_CERT are then texts to put into JSON
// strings; NAME.pem, NAME.key and ca.pem are files.
func cert(s *scenario, not bool, args []string) error {
	if not || len(args) < 1 {
		return errors.New("usage: cert NAME HOST…")
	}
	if err := s.needCA(); err != nil {
		return err
	}
	if err := s.ca.issue(args[0], args[1:]); err != nil {
		return err
	}
	for i, ext := range []string{".pem", ".key"} {
		if err := os.WriteFile(filepath.Join(s.dir, args[0]+ext), []byte(s.ca.pems[args[0]][i]), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "ca.pem"), []byte(pemText("CERTIFICATE", s.ca.cert.Raw)), 0o600)
}

func (s *scenario) needCA() (err error) {
	if s.ca == nil {
		s.ca, err = newAuthority()
	}
	return err
}

// serverTLS is the TLS side of an upstream: with the named certificate, or with
// one made for it.
func (s *scenario) serverTLS(name string, client bool) (*tls.Config, error) {
	if err := s.needCA(); err != nil {
		return nil, err
	}
	if name == "" {
		name = "upstream"
		if err := s.ca.issue(name, []string{"localhost", "127.0.0.1"}); err != nil {
			return nil, err
		}
	}
	pair, err := s.ca.pair(name)
	c := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if client {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(s.ca.cert)
	}
	return c, err
}
