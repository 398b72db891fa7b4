package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/admin"
	"sluice/configcenter"
	"sluice/configcenter/embedded"
	"sluice/configcenter/etcd"
	"sluice/configcenter/memory"
	"sluice/configcenter/secret"
	"sluice/configcenter/yaml"
)

// center is where configuration comes from and where the Admin API writes.
type center struct {
	source     configcenter.Source
	store      configcenter.Store
	standalone *admin.Standalone // the Admin API is the source itself
	keyring    *secret.Keyring   // nil: nothing is encrypted
	secrets    *secret.Resolver
	reached    func() bool
}

var errNotReady = errors.New("worker id: 0 has not received configuration")

// startTime bounds the start of the embedded etcd.
const startTime = 30 * time.Second

func (p *parts) openCenter() error {
	c := &center{reached: func() bool { return true }}
	p.center = c
	var err error
	if keys := p.cfg.Apisix.DataEncryption.Keyring; len(keys) > 0 {
		if c.keyring, err = secret.NewKeyring(keys); err != nil {
			return fmt.Errorf("apisix.data_encryption.keyring: %w", err)
		}
	}
	l := &p.cfg.Apisix.LRU.Secret
	c.secrets, err = secret.NewResolver(secret.Options{TTL: time.Duration(l.TTL) * time.Second,
		NegTTL: time.Duration(l.NegTTL) * time.Second, Count: l.Count, NegCount: l.NegCount})
	if err != nil {
		return fmt.Errorf("apisix.lru.secret: %w", err)
	}
	switch {
	case p.cfg.Provider != "etcd" && p.cfg.Apisix.EnableAdmin:
		c.standalone = &admin.Standalone{}
		c.source, c.store = c.standalone, memory.New("/apisix")
		return nil
	case p.cfg.Provider == "yaml" || p.cfg.Provider == "json":
		p.openFile()
		return nil
	}
	return p.openEtcd()
}

// openFile follows a file of resources. Nothing can be written there: the
// Admin API is off.
func (p *parts) openFile() {
	p.center.source, p.center.store = yaml.New(p.cfg.ResourceFile()), memory.New("/apisix")
}

func (p *parts) openEtcd() error {
	e := &p.cfg.Deployment.Etcd
	hosts := e.Host
	if p.cfg.EmbeddedStore {
		ctx, cancel := context.WithTimeout(p.ctx, startTime)
		defer cancel()
		s, err := embedded.Start(ctx, embedded.Config{
			Dir: p.cfg.Sluice.DataDir + "/etcd", Listen: "http://" + p.cfg.Sluice.StoreListen, Log: p.log})
		if err != nil {
			return fmt.Errorf("sluice.store_listen %s: %w", p.cfg.Sluice.StoreListen, err)
		}
		p.onCloseDo(s.Stop)
		hosts = []string{s.URL()}
	}
	tls, err := etcd.TLSFiles{Cert: e.TLS.Cert, Key: e.TLS.Key, NoVerify: !e.TLS.Verify, SNI: e.TLS.SNI}.Load()
	if err != nil {
		return fmt.Errorf("deployment.etcd.tls: %w", err)
	}
	c, err := etcd.Open(etcd.Config{
		Endpoints: hosts, Prefix: e.Prefix, User: e.User, Password: e.Password, TLS: tls,
		Timeout: e.Timeout, ResyncDelay: e.ResyncDelay, HealthTimeout: e.HealthCheckTimeout,
		StartupRetry: e.StartupRetry, Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("deployment.etcd: %w", err)
	}
	p.onClose(func(context.Context) error { return c.Close() })
	p.center.source, p.center.store = c, c
	if p.cfg.Deployment.Role == "data_plane" {
		return nil
	}
	if err := c.Init(p.ctx); err != nil {
		// A gateway that cannot reach its store still starts: the source goes on trying.
		p.log.Error("etcd cannot be prepared", "err", err)
	}
	return nil
}

func (c *center) reachable() int64 {
	if c.reached() {
		return 1
	}
	return 0
}
