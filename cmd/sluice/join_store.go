package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

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
func (p *parts) startBackend() error { return p.beside(backendTime, p.serveBackend) }

// beside runs serve until the gateway closes. It returns when serve is ready, or
// has failed, or after limit; what fails later is logged.
func (p *parts) beside(limit time.Duration, serve func(ctx context.Context, ready func()) error) error {
	ctx, cancel := context.WithCancel(p.ctx)
	ready, failed := make(chan struct{}), make(chan error)
	begun, done := make(chan struct{}), make(chan struct{})
	defer close(begun)
	go func() { // ends when the gateway closes
		defer close(done)
		err := serve(ctx, func() { close(ready) })
		select {
		case failed <- err:
		case <-begun:
			if err != nil && !errors.Is(err, context.Canceled) {
				p.log.Error("the store is not served any more", "err", err)
			}
		}
	}()
	p.onCloseDo(func() { cancel(); <-done })
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-failed:
		return err
	case <-ready:
	case <-t.C:
	}
	return nil
}

// serveBackend opens the store and serves it until ctx ends.
func (p *parts) serveBackend(ctx context.Context, ready func()) (err error) {
	b, err := p.openBackend(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	c := adapter.Config{Backend: b, Log: p.log, Retention: backendRetention}
	if t := &p.cfg.Sluice.StoreTLS; t.Cert != "" {
		if c.TLS, err = servingTLS(t.Cert, t.Key, t.CA); err != nil {
			return fmt.Errorf("sluice.store_tls: %w", err)
		}
	}
	l, err := net.Listen("tcp", p.cfg.Sluice.StoreListen)
	if err != nil {
		return err
	}
	s, err := adapter.New(c)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer s.Close()
	ready()
	return s.Serve(ctx, l)
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

// kindOf is the store's kind, without what may be secret.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}
