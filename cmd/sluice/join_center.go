package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sluice/admin"
	"sluice/conf"
	"sluice/configcenter"
	"sluice/configcenter/embedded"
	"sluice/configcenter/etcd"
	"sluice/configcenter/lastgood"
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

	etcd *etcd.Center     // nil without etcd
	disk *lastgood.Source // the last good version around it; nil without etcd
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
		start := p.startStore
		if p.cfg.Sluice.StoreBackend != "" {
			start = p.startBackend
		}
		if err := start(); err != nil {
			return fmt.Errorf("sluice.store_listen %s: %w", p.cfg.Sluice.StoreListen, err)
		}
		hosts = []string{storeURL(p.cfg)}
	}
	tls := p.storeTLS()
	if _, err := tls.Load(); err != nil {
		return fmt.Errorf("deployment.etcd.tls: %w", err)
	}
	c, err := etcd.Open(etcd.Config{
		Endpoints: hosts, Prefix: e.Prefix, User: e.User, Password: e.Password, TLS: tls.Load,
		PasswordFile: p.cfg.Sluice.StorePasswordFile,
		Timeout:      e.Timeout, ResyncDelay: e.ResyncDelay, HealthTimeout: e.HealthCheckTimeout,
		StartupRetry: e.StartupRetry, Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("deployment.etcd: %w", err)
	}
	p.onClose(func(context.Context) error { return c.Close() })
	if err := os.MkdirAll(p.cfg.Sluice.DataDir, 0o700); err != nil {
		return fmt.Errorf("sluice.data_dir: %w", err)
	}
	p.center.etcd, p.center.reached = c, c.Reachable
	p.center.disk = lastgood.New(filepath.Join(p.cfg.Sluice.DataDir, "lastgood"), c,
		lastgood.Options{Prefix: c.Prefix(), Cluster: c.Cluster, Log: p.log})
	p.center.source, p.center.store = p.center.disk, c
	if p.cfg.Deployment.Role != "data_plane" {
		p.prepareEtcd(c)
	}
	return nil
}

// startStore runs the embedded etcd. Alone, it is ready then; a member of a
// cluster may have to wait for others, which the gateway does not.
func (p *parts) startStore() error {
	ctx, cancel := context.WithTimeout(p.ctx, startTime)
	defer cancel()
	o := &p.cfg.Sluice
	s, err := embedded.Start(ctx, embedded.Config{
		Dir: filepath.Join(o.DataDir, "etcd"), Listen: storeURL(p.cfg), QuotaBytes: int64(o.StoreQuota),
		TLS: embedded.Files(o.StoreTLS), Cluster: clusterOf(p.cfg), Log: p.log})
	if err != nil {
		return err
	}
	p.onCloseDo(s.Stop)
	return p.guardStore(s)
}

// storeURL is where the embedded etcd serves clients.
func storeURL(c *conf.Config) string {
	if c.Sluice.StoreTLS.Cert != "" {
		return "https://" + c.Sluice.StoreListen
	}
	return "http://" + c.Sluice.StoreListen
}

// clusterOf is the cluster that the embedded etcd belongs to; nil: it is alone.
func clusterOf(c *conf.Config) *embedded.Cluster {
	l := &c.Sluice.Cluster
	if len(l.Members) == 0 {
		return nil
	}
	return &embedded.Cluster{Name: l.Name, PeerListen: l.PeerListen, Members: l.Members, Joining: l.Joining, TLS: embedded.Files(l.PeerTLS)}
}

// ownStoreTLS is how a client in the same place talks to the embedded etcd: the
// certificate that this shows is good for asking too.
func ownStoreTLS(c *conf.Config) etcd.TLSFiles {
	own := &c.Sluice.StoreTLS
	return etcd.TLSFiles{Cert: own.Cert, Key: own.Key, Same: own.Cert != ""}
}

// storeTLS are the files toward etcd: as in APISIX, the trusted certificates
// are those of apisix.ssl.
func (p *parts) storeTLS() etcd.TLSFiles {
	t := &p.cfg.Deployment.Etcd.TLS
	f := etcd.TLSFiles{Cert: t.Cert, Key: t.Key, NoVerify: !t.Verify, SNI: t.SNI}
	if ca := p.cfg.Apisix.SSL.TrustedCertificate; ca != "system" {
		f.CA = ca
	}
	if p.cfg.EmbeddedStore {
		return ownStoreTLS(p.cfg)
	}
	return f
}

// guardStore looks after the space of the embedded etcd until that is stopped.
func (p *parts) guardStore(s *embedded.Server) error {
	t, err := ownStoreTLS(p.cfg).Load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Guard(ctx, time.Minute, t, p.log)
	}()
	p.onCloseDo(func() { cancel(); <-done })
	return nil
}

// prepareTime is how long the start waits for etcd to be prepared.
const prepareTime = time.Second

// prepareEtcd makes the directory keys. A gateway that cannot reach its store
// still starts: it goes on in the background.
func (p *parts) prepareEtcd(c *etcd.Center) {
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Init(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("etcd cannot be prepared", "err", err)
		}
	}()
	p.onClose(func(context.Context) error {
		cancel()
		<-done
		return nil
	})
	late := time.NewTimer(prepareTime)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

func (c *center) reachable() int64 {
	if c.reached() {
		return 1
	}
	return 0
}
