package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
)

// VerifyRequest decides on one request of a TLS connection whether the client
// certificate, or its absence, is good for the host and canonical path it asks
// for. It returns 0 when it is, else the status to answer with. state is not
// changed.
func (s *Store) VerifyRequest(state *tls.ConnectionState, host, path string) (status int) {
	if state == nil {
		return 0
	}
	sni := s.serverName(state.ServerName)
	e := s.match(sni)
	if e != nil && e.client != nil && !e.client.skips(path) && !e.client.good(state) {
		return http.StatusBadRequest
	}
	host = hostName(host)
	if host == sni {
		return 0
	}
	// Under another name nobody was asked for the certificate that host wants.
	if h := s.match(host); h != nil && h.client != nil {
		return http.StatusBadRequest
	}
	return 0
}

// hostName is the normal form of a Host, without port.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return normal(host)
}

// skips reports whether path may be asked for without a certificate. A pattern
// that cannot be decided in reasonable time does not match: then one is needed.
func (c *client) skips(path string) bool {
	for _, re := range c.skip {
		if re.Match(path) {
			return true
		}
	}
	return false
}

// good reports whether the connection's certificate is verified: in the
// handshake, or now and remembered for the connection.
func (c *client) good(state *tls.ConnectionState) bool {
	if len(state.PeerCertificates) == 0 {
		return false
	}
	if len(state.VerifiedChains) > 0 {
		return true
	}
	leaf := state.PeerCertificates[0]
	c.mu.Lock()
	ok, known := c.verdicts[leaf]
	c.mu.Unlock()
	if known {
		return ok
	}
	ok = c.verify(state.PeerCertificates) == nil
	c.mu.Lock()
	if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	c.verdicts[leaf] = ok
	c.mu.Unlock()
	return ok
}

// verify checks a chain as the handshake would.
func (c *client) verify(certs []*x509.Certificate) error {
	between := x509.NewCertPool()
	for _, x := range certs[1:] {
		between.AddCert(x)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return err
	}
	return c.shortEnough(chains)
}

// checkDepth is the part of the verification that crypto/tls leaves to us.
func (c *client) checkDepth(state tls.ConnectionState) error {
	return c.shortEnough(state.VerifiedChains)
}

func (c *client) shortEnough(chains [][]*x509.Certificate) error {
	for _, chain := range chains {
		if len(chain)-2 <= c.depth {
			return nil
		}
	}
	return errors.New("certificate chain too long")
}
