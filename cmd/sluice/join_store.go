package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"sluice/conf"
	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/backend"
	"sluice/configcenter/adapter/mvcc"
)

// Times of a store in place of the embedded etcd.
const (
	backendTime      = 3 * time.Second // how long the start waits for it
	backendAgain     = 2 * time.Second // between two tries
	backendRetention = time.Hour       // of old revisions
)

// startBackend serves the store of sluice.store_backend where the embedded etcd
// would be. The gateway does not wait long for a database that does not answer:
// it has its last good version, and hears when the store is there.
func (p *parts) startBackend() error {
	ctx, cancel := context.WithCancel(p.ctx)
	ready, late, done := make(chan error), make(chan struct{}), make(chan struct{})
	go func() { // ends when the gateway closes
		defer close(done)
		p.serveBackend(ctx, func(err error) {
			select {
			case ready <- err:
			case <-late:
				if err != nil && ctx.Err() == nil {
					p.log.Error("the store cannot be served", "err", err)
				}
			}
		})
	}()
	p.onCloseDo(func() { cancel(); <-done })
	t := time.NewTimer(backendTime)
	defer t.Stop()
	select {
	case err := <-ready:
		return err
	case <-t.C:
		close(late)
		return nil
	}
}

// serveBackend opens the store and serves it until ctx ends; it tells once when
// it does, or why it does not.
func (p *parts) serveBackend(ctx context.Context, told func(error)) {
	b, err := p.openBackend(ctx)
	if err != nil {
		told(err)
		return
	}
	err = func() error {
		l, err := net.Listen("tcp", p.cfg.Sluice.StoreListen)
		if err != nil {
			return err
		}
		s, err := adapter.New(adapter.Config{Backend: b, Log: p.log, TLS: backendTLS(p.cfg), Retention: backendRetention})
		if err != nil {
			return errors.Join(err, l.Close())
		}
		defer s.Close()
		told(nil)
		if err := s.Serve(ctx, l); err != nil {
			p.log.Error("the store is no longer served", "err", err)
		}
		return nil
	}()
	if err = errors.Join(err, b.Close()); err != nil {
		told(err)
	}
}

// openBackend opens the store; a database is tried until it answers.
func (p *parts) openBackend(ctx context.Context) (mvcc.Backend, error) {
	name := p.cfg.Sluice.StoreBackend
	for {
		b, err := backend.Open(ctx, name)
		if err == nil || ctx.Err() != nil || !backend.Remote(name) {
			return b, err
		}
		p.log.Warn("the store cannot be opened, trying again", "err", err)
		t := time.NewTimer(backendAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// backendTLS is sluice.store_tls; its files are read for each connection, so
// that renewed ones count.
func backendTLS(c *conf.Config) *tls.Config {
	t := c.Sluice.StoreTLS
	if t.Cert == "" {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, err
		}
		now := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
		if t.CA == "" {
			return now, nil
		}
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		now.ClientAuth, now.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !now.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", t.CA)
		}
		return now, nil
	}}
}

// kindOf is the store's kind, without what may be secret.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}
