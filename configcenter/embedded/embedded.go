// Package embedded runs a real etcd in the process: one member, its data in a
// directory, its client port on the loopback interface, so that one binary is
// a whole gateway and etcd's own tools still work; or one of several members
// in as many processes. It does not know what is
// stored; the package etcd reads and writes it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// Config says where etcd lives. Only Dir is required.
type Config struct {
	Dir    string // data directory, made if it does not exist
	Listen string // client URL; http://127.0.0.1:2379 when empty; port 0 takes a free one

	// Retention is how long old revisions are kept; 1 hour when 0.
	Retention time.Duration
	// QuotaBytes bounds the database; 2 GiB when 0. A full database refuses
	// writes until it is compacted.
	QuotaBytes int64
	// MaxRequestBytes bounds one write; 10 MiB when 0.
	MaxRequestBytes uint
	// NoSync does without waiting for the disk: for tests, a crash loses data.
	NoSync bool

	// TLS is for Listen, which is then an https URL.
	TLS Files
	// Cluster makes the server a member of a cluster; nil: it stands alone.
	Cluster *Cluster

	Log *slog.Logger // gets warnings and errors; nil: nothing is logged
}

// peerURL lets the system choose the port: there are no peers, but etcd
// insists on listening for them.
const peerURL = "http://127.0.0.1:0"

// Server is a running etcd.
type Server struct {
	etcd *embed.Etcd
	url  string
	made chan *grpc.Server // gets the server of clients once it is ready

	stopping atomic.Bool
}

// Start starts etcd and returns when it takes writes, or when ctx ends. An
// address in use and a directory in use are errors that name it.
func Start(ctx context.Context, c Config) (*Server, error) {
	s := &Server{made: make(chan *grpc.Server, 1)}
	cfg, err := c.embed(&s.stopping)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd data directory: %w", err)
	}
	if err := checkUnlocked(c.Dir); err != nil {
		return nil, err
	}
	cfg.ServiceRegister = func(g *grpc.Server) { s.made <- g } // comes after etcd itself is ready
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd at %s in %s: %w", cfg.ListenClientUrls[0].Host, c.Dir, err)
	}
	s.etcd, s.url = e, cfg.ListenClientUrls[0].Scheme+"://"+e.Clients[0].Addr().String()
	if c.Cluster != nil {
		return s, nil // it is ready once enough of the others are
	}
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("embedded etcd in %s: %w", c.Dir, err)
	}
	return s, nil
}

// await waits until clients are served.
func (s *Server) await(ctx context.Context) error {
	select {
	case g := <-s.made:
		s.made <- g
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-s.etcd.Server.StopNotify():
		return errors.New("stopped while starting")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// URL is where clients connect to.
func (s *Server) URL() string { return s.url }

// Err receives the error that makes the server stop by itself.
func (s *Server) Err() <-chan error { return s.etcd.Err() }

// grace is how long requests under way have when the server stops.
const grace = 300 * time.Millisecond

// Stop ends the clients' streams, writes out what is pending and returns when
// everything has ended. etcd left to itself would wait seconds for watches,
// which never end.
func (s *Server) Stop() {
	s.stopping.Store(true)
	select {
	case g := <-s.made:
		force := time.AfterFunc(grace, g.Stop)
		g.GracefulStop()
		force.Stop()
	default:
		// Not ready, as a member without enough others is: closing etcd would
		// wait for that without end, unless its server has stopped before.
		s.etcd.Server.HardStop()
	}
	s.etcd.Close()
}

func (c *Config) embed(stopping *atomic.Bool) (*embed.Config, error) {
	if c.Dir == "" {
		return nil, errors.New("embedded etcd: no data directory given")
	}
	listen := c.Listen
	if listen == "" {
		listen = embed.DefaultListenClientURLs
	}
	client, err := url.Parse(listen)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: listen address %q: %w", listen, err)
	}
	scheme := "http"
	if c.TLS.Cert != "" {
		scheme = "https"
	}
	if client.Scheme != scheme || client.Port() == "" {
		return nil, fmt.Errorf("embedded etcd: listen address %q: must be %s://host:port", listen, scheme)
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg := embed.NewConfig()
	cfg.Name = "sluice"
	cfg.Dir = c.Dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ClientTLSInfo = c.TLS.info()
	if err := c.Cluster.set(cfg); err != nil {
		return nil, err
	}
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = orDefault(c.Retention, time.Hour).String()
	cfg.QuotaBackendBytes = orDefault(c.QuotaBytes, 2<<30)
	cfg.MaxRequestBytes = orDefault(c.MaxRequestBytes, 10<<20)
	cfg.WatchProgressNotifyInterval = 30 * time.Second
	cfg.UnsafeNoFsync = c.NoSync
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(log, stopping))
	return cfg, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
