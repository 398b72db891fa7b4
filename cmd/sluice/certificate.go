package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"sluice/conf"
)

// selfSigned makes a certificate for this machine, good for a day.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sluice echo"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// adminTLS is the TLS side of the Admin API: nil when it is plain. With a CA it
// asks clients for a certificate of that CA.
func adminTLS(cfg *conf.Config) (*tls.Config, error) {
	a := &cfg.Deployment.Admin
	if !cfg.ServesAdmin() || !a.HTTPS {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(a.MTLS.Cert, a.MTLS.Key)
	if err != nil {
		return nil, fmt.Errorf("deployment.admin.admin_api_mtls: %w", err)
	}
	t := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if a.MTLS.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(a.MTLS.CA)
	if err != nil {
		return nil, fmt.Errorf("deployment.admin.admin_api_mtls.admin_ssl_ca_cert: %w", err)
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("deployment.admin.admin_api_mtls.admin_ssl_ca_cert: no certificate in %s", a.MTLS.CA)
	}
	t.ClientAuth = tls.RequireAndVerifyClientCert
	return t, nil
}
