// Package gateway joins the four engines: it owns the two walks. A request's
// walk is serve.go: match, run the chain, forward, answer, log. A
// configuration's walk is follow.go: take a batch, make a snapshot, compile,
// swap. They meet in one atomic pointer, the live version.
//
// It is the only package that knows the router, the balancer, the
// configuration and the plugins at once. It does not know where configuration
// comes from, who administers it, or which plugins exist.
package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice/balancer"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/secret"
	"sluice/gateway/accesslog"
	"sluice/gateway/certs"
	"sluice/gateway/errorpage"
	"sluice/gateway/lane"
	"sluice/gateway/lua"
	"sluice/gateway/origin"
	"sluice/plugins"
	"sluice/router"
)

// Options are what a Gateway needs; they do not change while it runs.
type Options struct {
	Catalog *plugins.Catalog
	Shared  *plugins.Shared
	// FollowPlugins lets the configuration's own list of plugins, if it has one,
	// choose among the catalog's (standalone files, data planes).
	FollowPlugins bool
	// StrictPlugins refuses an object with a plugin that is not enabled;
	// otherwise that plugin is skipped with a warning.
	StrictPlugins bool
	Log           *slog.Logger
	Now           func() time.Time // nil: time.Now

	Mode router.Mode // how routes are matched
	Path PathOptions // how paths are made ready for it

	// Attr returns plugin_attr.<name> as JSON, or nil.
	Attr func(plugin string) json.RawMessage
	// Lua runs filter_func, script and _meta.pre_function; nil: objects that have
	// them cannot be used.
	Lua *lua.Host
	// Keyring decrypts what lies encrypted in the store; nil: nothing does.
	Keyring *secret.Keyring
	// Secrets resolves $secret:// and $env:// references; nil: they stay.
	Secrets *secret.Resolver

	TLS certs.Options // of the HTTPS listeners

	AccessLog *accesslog.Log // nil: off
	// ServerHeader is the value of the Server field of every response.
	ServerHeader string
	// UpstreamStatusAlways sends X-APISIX-Upstream-Status with every proxied
	// response; otherwise only when the last status is 5xx.
	UpstreamStatusAlways bool

	Timeline origin.Timeline // of the plugins of a request

	// RealIP says from whom and in which field a client's address is believed.
	RealIP origin.RealIP
	// Trusted peers may send X-Forwarded-* of their own; see forwarded.go.
	Trusted []netip.Prefix
	// HasTrusted tells an empty trusted_addresses list from none.
	HasTrusted bool

	Charset string // added to text types without one; "off" or "": not

	MaxBody int64 // client_max_body_size in bytes; 0: no limit
	// Variables bound what variables over bodies read; nil: the defaults.
	Variables *plugins.Limits

	// Keepalive are the defaults of upstream pools.
	Keepalive Keepalive
	// Resolver turns domain nodes into addresses.
	Resolver balancer.Resolver
	// Discovery finds the nodes of services, by discovery_type.
	Discovery map[string]Discovery
	// Probe is how active health checks ask a node; nil: no active checks.
	Probe balancer.Probe
	// DisableHealth switches every health check off.
	DisableHealth bool
	// SpoolBytes is how much of a request body is kept in memory so that a
	// failed try can be repeated at another node.
	SpoolBytes int64

	// Grace is how long a replaced version's plugin instances stay open for the
	// requests that still use them.
	Grace time.Duration
	// OnVersion hears of each version that went live; nil: only the log does.
	OnVersion func(Version)
}

// Discovery finds the nodes of the service that an upstream names.
type Discovery func(ctx context.Context, u *resource.Upstream) (balancer.Found, error)

// Keepalive bounds the connections kept to one node of an upstream.
type Keepalive struct {
	Idle        int
	IdleTimeout time.Duration
	Requests    int
}

// Version describes a configuration that went live.
type Version struct {
	Rev      int64
	Problems []configcenter.Problem
	Took     time.Duration // from the batch to the swap
}

// Gateway is the running data plane.
type Gateway struct {
	o       Options
	live    atomic.Pointer[table]
	comp    *compiler
	audit   audit
	applied atomic.Int64 // changes of objects

	types    *errorpage.Types
	requests lane.Counter

	started chan struct{} // closed with the first version

	mu       sync.Mutex // guards what follows
	problems []configcenter.Problem
	waiters  []waiter
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// New makes a gateway that answers 404 until Follow brings a configuration.
func New(o Options) *Gateway {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Grace == 0 {
		o.Grace = time.Minute
	}
	g := &Gateway{o: o, types: errorpage.NewTypes(o.Charset)}
	g.started = make(chan struct{})
	g.comp = newCompiler(&g.o)
	g.live.Store(g.comp.empty())
	return g
}

// Started reports whether a first version is live.
func (g *Gateway) Started() bool { return g.live.Load().snap != nil }

// TLSConfig chooses the certificate of a handshake from the live version. It is
// tls.Config's GetConfigForClient.
func (g *Gateway) TLSConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	return g.live.Load().certs.GetConfigForClient(hello)
}

// Rev is the revision of the live version; 0 before the first.
func (g *Gateway) Rev() int64 { return g.live.Load().rev }

// Problems are the objects that could not be used in the live version.
func (g *Gateway) Problems() []configcenter.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.problems
}

// Live returns a channel that is closed once a version of at least rev is live.
func (g *Gateway) Live(rev int64) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	done := make(chan struct{})
	if g.live.Load().rev >= rev {
		close(done)
		return done
	}
	g.waiters = append(g.waiters, waiter{rev, done})
	return done
}

// Snapshot is the configuration of the live version.
func (g *Gateway) Snapshot() *configcenter.Snapshot { return g.live.Load().snap }

func (g *Gateway) publish(t *table, problems []configcenter.Problem) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live.Swap(t).snap == nil {
		close(g.started)
	}
	g.problems = problems
	kept := g.waiters[:0]
	for _, w := range g.waiters {
		if w.rev <= t.rev {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(g.waiters[len(kept):])
	g.waiters = kept
}
