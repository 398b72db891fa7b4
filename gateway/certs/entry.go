package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sluice/configcenter/resource"
	"sluice/router/expr"
)

// entry is one ssl object, compiled.
type entry struct {
	def     *resource.SSL
	names   []string // normal; may begin with a star
	configs []versioned
	client  *client // nil: no client certificates wanted
}

// versioned is a configuration for a range of protocol versions. An object
// whose versions have a gap needs several, the highest first.
type versioned struct {
	min, max uint16
	config   *tls.Config
}

// client says which client certificates are good.
type client struct {
	roots *x509.CertPool
	depth int // intermediates allowed
	skip  []*expr.Regex

	// verdicts remember what verify said of a connection's certificate, by its
	// pointer, for objects that verify by request. Bounded by maxVerdicts.
	mu       sync.Mutex
	verdicts map[*x509.Certificate]bool
}

const maxVerdicts = 4096

// Check reports why an ssl object cannot be used, in APISIX's words.
func Check(def *resource.SSL) error {
	_, err := keyPairs(def)
	if err != nil || def.Type == "client" || def.Client == nil {
		return err
	}
	_, err = newClient(def.Client)
	return err
}

func newEntry(def *resource.SSL, o *settings) (*entry, error) {
	pairs, err := keyPairs(def)
	if err != nil {
		return nil, err
	}
	e := &entry{def: def}
	names := def.SNIs
	if len(names) == 0 {
		names = []string{def.SNI}
	}
	for _, n := range names {
		if n = normal(n); n == "" {
			return nil, errors.New("no sni")
		}
		e.names = append(e.names, n)
	}
	if def.Client != nil {
		if e.client, err = newClient(def.Client); err != nil {
			return nil, err
		}
	}
	versions := o.versions
	if len(def.SSLProtocols) > 0 {
		if versions, err = parseVersions(def.SSLProtocols); err != nil {
			return nil, err
		}
	}
	for _, r := range ranges(versions) {
		r.config = e.newConfig(pairs, r, o)
		e.configs = append(e.configs, r)
	}
	return e, nil
}

// keyPairs reads all certificates of an object, those with ECDSA keys first:
// they are cheaper, and whoever cannot verify them says so.
func keyPairs(def *resource.SSL) ([]tls.Certificate, error) {
	if len(def.Certs) != len(def.Keys) {
		return nil, errors.New("mismatched number of certs and keys")
	}
	first, err := keyPair(def.Cert, def.Key)
	if err != nil {
		return nil, err
	}
	pairs := []tls.Certificate{first}
	for i := range def.Certs {
		p, err := keyPair(def.Certs[i], def.Keys[i])
		if err != nil {
			return nil, fmt.Errorf("failed to handle cert-key pair[%d]: %w", i+1, err)
		}
		pairs = append(pairs, p)
	}
	slices.SortStableFunc(pairs, func(a, b tls.Certificate) int { return rank(a) - rank(b) })
	return pairs, nil
}

func rank(c tls.Certificate) int {
	if _, ok := c.PrivateKey.(*ecdsa.PrivateKey); ok {
		return 0
	}
	return 1
}

func keyPair(cert, key string) (tls.Certificate, error) {
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(cert)) {
		return tls.Certificate{}, errors.New("failed to parse cert: not a PEM certificate")
	}
	p, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("failed to parse key: %w", err)
	}
	return p, nil
}

func newClient(def *resource.SSLClient) (*client, error) {
	c := &client{roots: x509.NewCertPool(), depth: 1, verdicts: map[*x509.Certificate]bool{}}
	if !c.roots.AppendCertsFromPEM([]byte(def.CA)) {
		return nil, errors.New("failed to validate client_cert: failed to parse cert: not a PEM certificate")
	}
	if def.Depth != nil {
		c.depth = *def.Depth
	}
	for _, text := range def.SkipMTLSURIRegex {
		re, err := expr.CompileRegex(text, "")
		if err != nil {
			return nil, fmt.Errorf("skip_mtls_uri_regex %q: %w", text, err)
		}
		c.skip = append(c.skip, re)
	}
	return c, nil
}

func (e *entry) newConfig(pairs []tls.Certificate, r versioned, o *settings) *tls.Config {
	cfg := &tls.Config{
		MinVersion: r.min, MaxVersion: r.max, CipherSuites: o.ciphers, NextProtos: o.nextProtos,
		SessionTicketsDisabled: !o.tickets || e.client != nil,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return choose(pairs, h), nil
		},
	}
	if !cfg.SessionTicketsDisabled {
		bindTickets(cfg)
	}
	switch {
	case e.client == nil:
	case len(e.client.skip) > 0:
		cfg.ClientAuth = tls.RequestClientCert
	default:
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, e.client.roots
		cfg.VerifyConnection = e.client.checkDepth
	}
	return cfg
}

// choose takes the first certificate that the client can verify; whether it
// covers the name is the business of whoever configured it.
func choose(pairs []tls.Certificate, h *tls.ClientHelloInfo) *tls.Certificate {
	if len(pairs) > 1 {
		anyName := *h
		anyName.ServerName = ""
		for i := range pairs {
			if anyName.SupportsCertificate(&pairs[i]) == nil {
				return &pairs[i]
			}
		}
	}
	return &pairs[len(pairs)-1]
}

// sessionName marks what our tickets carry besides the session.
var sessionName = []byte("sluice-name:")

// bindTickets makes a ticket good only for the name it was issued under.
func bindTickets(cfg *tls.Config) {
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, append(slices.Clip(sessionName), cs.ServerName...))
		return cfg.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := cfg.DecryptTicket(ticket, cs)
		if err != nil || ss == nil {
			return nil, err
		}
		for _, extra := range ss.Extra {
			if name, ours := bytes.CutPrefix(extra, sessionName); ours && string(name) == cs.ServerName {
				return ss, nil
			}
		}
		return nil, nil
	}
}

// config is the one for the highest version that both sides speak.
func (e *entry) config(hello *tls.ClientHelloInfo) *tls.Config {
	if len(e.configs) > 1 {
		for _, v := range e.configs {
			for _, theirs := range hello.SupportedVersions {
				if v.min <= theirs && theirs <= v.max {
					return v.config
				}
			}
		}
	}
	return e.configs[0].config
}
