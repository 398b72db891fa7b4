// Package etcd is the configuration centre in an etcd cluster, laid out as
// APISIX does: one key per object below a prefix, its value JSON text. One
// watch per process carries all changes. The package does not know what the
// objects mean; a Snapshot judges them.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// Config says where the cluster is and how to talk to it.
type Config struct {
	Endpoints []string // URLs; at least one
	Prefix    string   // before every key; "/apisix" when empty
	User      string   // with Password: log in
	Password  string
	TLS       *tls.Config // for https endpoints; nil takes the system's defaults

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

	mu     sync.Mutex
	client *clientv3.Client // nil until the cluster was first spoken to
	closed bool
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
	return &Center{cfg: c}, nil
}

// Close ends all connections. Requests under way fail, watches end with their context.
func (c *Center) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.client == nil {
		return nil
	}
	client := c.client
	c.client = nil
	return client.Close()
}

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

// conn returns the client, made on first use. With a user it logs in, which is
// what can fail here.
func (c *Center) conn() (*clientv3.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("etcd: closed")
	}
	if c.client != nil {
		return c.client, nil
	}
	options := []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		// Without this gRPC waits up to two minutes before it tries again.
		Backoff: backoff.Config{
			BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: c.cfg.ResyncDelay,
		},
		MinConnectTimeout: c.cfg.HealthTimeout,
	})}
	if c.cfg.TLS != nil && c.cfg.TLS.ServerName != "" {
		// The client library would ask for the endpoint's name instead.
		options = append(options, grpc.WithAuthority(c.cfg.TLS.ServerName))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.cfg.Endpoints,
		Username:             c.cfg.User,
		Password:             c.cfg.Password,
		TLS:                  c.cfg.TLS,
		DialTimeout:          c.cfg.HealthTimeout,
		DialKeepAliveTime:    c.cfg.HealthTimeout,
		DialKeepAliveTimeout: c.cfg.HealthTimeout,
		MaxCallSendMsgSize:   math.MaxInt32,
		MaxCallRecvMsgSize:   math.MaxInt32,
		Logger:               zap.NewNop(),
		DialOptions:          options,
	})
	if err != nil {
		return nil, fmt.Errorf("etcd %v: %w", c.cfg.Endpoints, err)
	}
	c.client = client
	return client, nil
}

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
		err := c.do(ctx, "init "+key, func(ctx context.Context, kv *clientv3.Client) error {
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

// do runs one request with its time limit; the error says what was tried.
func (c *Center) do(ctx context.Context, what string, f func(context.Context, *clientv3.Client) error) error {
	client, err := c.conn()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	err = f(limited, client)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		if cause := c.probe(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause) // the client library keeps the cause to itself
		}
	}
	if err != nil {
		return fmt.Errorf("etcd %s: %w", what, err)
	}
	return nil
}

// probe asks for the cluster's state without waiting for a connection to come
// up: its error says why there is none.
func (c *Center) probe(ctx context.Context) error {
	client, err := c.conn()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HealthTimeout)
	defer cancel()
	_, err = etcdserverpb.NewMaintenanceClient(client.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	}
	return nil // somebody is there, even if the question is not allowed
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
