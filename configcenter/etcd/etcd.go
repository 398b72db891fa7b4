// Package etcd is the configuration centre in an etcd cluster, laid out as
// APISIX does: one key per object below a prefix, its value JSON text. One
// watch per process carries all changes. The package does not know what the
// objects mean; a Snapshot judges them.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// Config says where the cluster is and how to talk to it.
type Config struct {
	Endpoints []string // URLs; at least one
	Prefix    string   // before every key; "/apisix" when empty
	User      string   // with a password: log in
	Password  string
	// PasswordFile is read at each login, instead of Password, so that a
	// password can be rotated.
	PasswordFile string
	// TLS is asked at each new connection to an https endpoint, so that
	// certificates can be renewed; nil takes the system's defaults.
	TLS func() (*tls.Config, error)

	Timeout       time.Duration // of one request; 30 s when 0
	ResyncDelay   time.Duration // longest pause between tries to reconnect; 5 s when 0
	HealthTimeout time.Duration // silence after which a watch counts as lost; 10 s when 0
	StartupRetry  int           // how often Init tries again; 2 when 0, none when negative
	AuditInterval time.Duration // between two comparisons with the store; 1 min when 0, never when negative

	Log *slog.Logger // nil: nothing is logged
}

// Center is both Source and Store. Make it with Open, and Close it.
type Center struct {
	cfg Config

	reachable atomic.Bool
	drifts    atomic.Int64
	cluster   atomic.Uint64
	answering sync.Map // endpoints that answer requests for progress

	admin *link // of the Store's reads and writes; each Watch has its own
}

var (
	_ configcenter.Source = (*Center)(nil)
	_ configcenter.Store  = (*Center)(nil)
)

// Open makes a centre. It does not connect: a cluster that is down is an error
// of the first use, so that a gateway can start from what it knew before.
func Open(c Config) (*Center, error) {
	if len(c.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints given")
	}
	if c.Prefix == "" {
		c.Prefix = "/apisix"
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.ResyncDelay == 0 {
		c.ResyncDelay = 5 * time.Second
	}
	if c.HealthTimeout == 0 {
		c.HealthTimeout = 10 * time.Second
	}
	if c.StartupRetry == 0 {
		c.StartupRetry = 2
	}
	if c.AuditInterval == 0 {
		c.AuditInterval = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	e := &Center{cfg: c}
	e.admin = e.newLink()
	e.admin.patient = true
	return e, nil
}

// Close ends the connection of the Store. Requests under way fail; a watch has
// its own connection and ends with its context.
func (c *Center) Close() error { return c.admin.close() }

// Prefix is what stands before "/routes/1" in a key.
func (c *Center) Prefix() string { return c.cfg.Prefix }

// Reachable reports whether the watch has its store: from the first answer
// until it is lost.
func (c *Center) Reachable() bool { return c.reachable.Load() }

// Cluster is the id of the cluster that the configuration came from; 0 before
// the first answer.
func (c *Center) Cluster() uint64 { return c.cluster.Load() }

// Drifts is how often what the watch had brought was not what the store held,
// and was read anew.
func (c *Center) Drifts() int64 { return c.drifts.Load() }

// key is the full key of an object.
func (c *Center) key(k resource.Kind, id string) string {
	return c.cfg.Prefix + configcenter.Path(k, id)
}

// directory is what marks a directory in APISIX's layout; it is no object.
const directory = "init_dir"

// directories are the kinds that have one, in the order in which Init makes them.
var directories = []resource.Kind{
	resource.Upstreams, resource.PluginList, resource.SSLs, resource.StreamRoutes, resource.PluginMetadata,
	resource.Routes, resource.Services, resource.Consumers, resource.GlobalRules, resource.Protos,
	resource.PluginConfigs, resource.ConsumerGroups, resource.Secrets,
}

// Init makes the directory keys that are missing, as "apisix init_etcd" does.
// When the cluster does not answer it tries again StartupRetry times.
func (c *Center) Init(ctx context.Context) error {
	var err error
	for try := 0; ; try++ {
		if err = c.makeDirectories(ctx); err == nil || try >= c.cfg.StartupRetry {
			return err
		}
		c.cfg.Log.Warn("etcd does not answer, trying again", "err", err)
		if !pause(ctx, time.Duration(try+1)*time.Second) {
			return err
		}
	}
}

func (c *Center) makeDirectories(ctx context.Context) error {
	for _, k := range directories {
		key := c.cfg.Prefix + "/" + string(k) + "/"
		err := c.ask(ctx, c.admin, "init "+key, func(ctx context.Context, kv *clientv3.Client) error {
			_, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
				Then(clientv3.OpPut(key, directory)).Commit()
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
