package etcd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSFiles are the files and switches of deployment.etcd.tls.
type TLSFiles struct {
	Cert, Key string // the client's own certificate, for clusters that ask for one
	CA        string // trusted certificates; the system's when empty
	SNI       string // server name to ask for and to check; the endpoint's host when empty
	NoVerify  bool   // take any server's certificate
	// Same: the server must show the very certificate of Cert, whatever its
	// names: it is this process.
	Same bool
}

// Load reads the files; Config.TLS calls it for each new connection.
func (f TLSFiles) Load() (*tls.Config, error) {
	c := &tls.Config{ServerName: f.SNI, InsecureSkipVerify: f.NoVerify, MinVersion: tls.VersionTLS12}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("etcd tls cert %q, key %q: %w", f.Cert, f.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
		if f.Same {
			c.InsecureSkipVerify = true
			c.VerifyConnection = func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, pair.Certificate[0]) {
					return fmt.Errorf("etcd tls: the server does not show %s", f.Cert)
				}
				return nil
			}
		}
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("etcd tls ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd tls ca %q: no certificate in it", f.CA)
		}
	}
	return c, nil
}
