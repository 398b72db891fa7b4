package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"sluice/conf"
	"sluice/gateway"
	"sluice/gateway/accesslog"
	"sluice/gateway/certs"
	"sluice/gateway/h2"
	"sluice/gateway/origin"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/all"
	filelogger "sluice/plugins/file-logger"
	"sluice/router"
)

// parts are what join connects, while it does so.
type parts struct {
	ctx context.Context
	cfg *conf.Config
	log *slog.Logger

	registry      plugins.Registry
	catalog       *plugins.Catalog
	streamCatalog *plugins.Catalog
	shared        *plugins.Shared
	center        *center // where configuration comes from and goes to
	access        *accesslog.Log
	gateway       *gateway.Gateway
	server        *wire.Server
	two           *h2.Server
	https         func(net.Listener) error

	// closers undo what was opened, last first.
	closers []func(context.Context) error
}

func (p *parts) onClose(f func(context.Context) error) { p.closers = append(p.closers, f) }

func (p *parts) onCloseDo(f func()) {
	p.onClose(func(context.Context) error { f(); return nil })
}

func (p *parts) close(ctx context.Context) error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i](ctx))
	}
	p.closers = nil
	return errors.Join(errs...)
}

// join makes the parts of one gateway and connects them. ctx ends when the
// process does.
func join(ctx context.Context, cfg *conf.Config, log *slog.Logger) (*process, error) {
	p := &parts{ctx: ctx, cfg: cfg, log: log, registry: all.Registry(), shared: &plugins.Shared{}}
	p.onCloseDo(p.shared.Close) // last of all: what plugins have collected goes out
	handlers := map[conf.Service]http.Handler{}
	for _, step := range []func() error{
		p.openCatalog, p.openCenter, p.openAccessLog, p.openGateway, p.openServer,
		func() error { return p.openAdmin(handlers) },
		func() error { return p.openControl(handlers) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, p.close(context.Background()))
		}
	}
	p.follow()
	return &process{
		handlers:   handlers,
		serveHTTP:  p.server.Serve,
		serveHTTPS: p.https,
		drain:      p.close,
		reopen: func() error {
			filelogger.Reopen(p.shared)
			return p.access.Reopen()
		},
	}, nil
}

func (p *parts) openCatalog() error {
	c, missing, err := plugins.NewCatalog(p.registry, p.cfg.Plugins)
	if len(missing) > 0 {
		level := slog.LevelError // as APISIX: the user asked for something that is not there
		if p.cfg.DefaultPlugins {
			level = slog.LevelDebug
		}
		p.log.Log(p.ctx, level, "plugins are enabled that this version does not have, skipped", "plugins", missing)
	}
	if err != nil {
		return err
	}
	p.catalog = c
	// Stream plugins come with the stream proxy.
	p.streamCatalog, _, err = plugins.NewCatalog(nil, nil)
	return err
}

// leastLogBuffer is what access_log_buffer amounts to at least: with little
// buffers the writer would be woken a thousand times a second at full load.
// Lines wait for three seconds at most, however few they are.
const leastLogBuffer = 64 << 10

func (p *parts) openAccessLog() error {
	h := &p.cfg.Nginx.HTTP
	if !h.EnableAccessLog {
		return nil
	}
	f, err := accesslog.Compile(h.AccessLogFormat, h.AccessLogEscape)
	if err != nil {
		return fmt.Errorf("nginx_config.http.access_log_format: %w", err)
	}
	p.access, err = accesslog.Open(f, accesslog.Options{Path: h.AccessLog, Buffer: max(int(h.AccessLogBuffer), leastLogBuffer), Logger: p.log})
	if err != nil {
		return fmt.Errorf("nginx_config.http.access_log: %w", err)
	}
	p.onCloseDo(p.access.Close)
	return nil
}

func (p *parts) openGateway() error {
	a, n := &p.cfg.Apisix, &p.cfg.Nginx.HTTP
	resolver, err := p.resolver()
	if err != nil {
		return err
	}
	probe, err := p.probe()
	if err != nil {
		return err
	}
	discovery, err := p.discovery()
	if err != nil {
		return err
	}
	p.gateway = gateway.New(gateway.Options{
		Catalog:       p.catalog,
		Lua:           p.lua(),
		Shared:        p.shared,
		FollowPlugins: p.cfg.Provider != "etcd" || p.cfg.Deployment.Role == "data_plane",
		StrictPlugins: p.cfg.Provider != "etcd",
		Log:           p.log,
		Mode:          router.Mode(a.Router.HTTP),
		Path: gateway.PathOptions{TrimSlash: a.DeleteURITailSlash,
			Servlet: a.NormalizeURILikeServlet, KeepSlashes: a.MatchURIEncodedSlash},
		Attr:      p.pluginAttr,
		Keyring:   p.center.keyring,
		Secrets:   p.center.secrets,
		AccessLog: p.access,
		TLS: certs.Options{Protocols: strings.Fields(a.SSL.Protocols), Ciphers: a.SSL.Ciphers,
			Tickets: a.SSL.SessionTickets, FallbackSNI: a.SSL.FallbackSNI, NextProtos: nextProtos(a.EnableHTTP2)},
		ServerHeader:         serverHeader(a.EnableServerTokens),
		UpstreamStatusAlways: a.ShowUpstreamStatus,
		Timeline: origin.Timeline{Log: p.cfg.Sluice.PluginTimeline.Log, Header: p.cfg.Sluice.PluginTimeline.Header,
			Trigger: p.cfg.Sluice.PluginTimeline.Trigger, From: p.cfg.Sluice.PluginTimeline.Addresses},
		RealIP:     origin.RealIP{Header: n.RealIPHeader, From: prefixes(n.RealIPFrom), Recursive: bool(n.RealIPRecursive)},
		Trusted:    a.TrustedAddresses,
		HasTrusted: len(a.TrustedAddresses) > 0,
		Charset:    n.Charset,
		MaxBody:    int64(n.ClientMaxBodySize),
		Keepalive: gateway.Keepalive{Idle: n.Upstream.Keepalive,
			IdleTimeout: n.Upstream.KeepaliveTimeout, Requests: n.Upstream.KeepaliveRequests},
		Resolver:      resolver,
		Discovery:     discovery,
		Probe:         probe,
		DisableHealth: a.DisableHealthcheck,
		Variables:     &plugins.Limits{PostArgs: int64(a.MaxPostArgsReadableSize) << 20, GraphQL: int64(p.cfg.GraphQL.MaxSize)},
		SpoolBytes:    int64(p.cfg.Sluice.Limits.BodyMemory),
	})
	p.onCloseDo(p.gateway.Close)
	return nil
}

// serverHeader is what every response says of its server; clients and tests of
// APISIX look for its name.
func serverHeader(tokens bool) string {
	if tokens {
		return "APISIX/" + apisixVersion
	}
	return "APISIX"
}

const apisixVersion = "3.18.0"

// nextProtos are the protocols offered by ALPN.
func nextProtos(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// prefixes reads real_ip_from. "unix:" has no meaning here.
func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		} else if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// follow starts the configuration's walk; it ends before the gateway is closed.
func (p *parts) follow() {
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.gateway.Follow(ctx, p.center.source)
	}()
	p.onClose(func(context.Context) error {
		cancel()
		<-done
		return nil
	})
	p.onClose(func(ctx context.Context) error { // both drain at once
		two := make(chan error)
		go func() { two <- p.two.Shutdown(ctx) }()
		return errors.Join(p.server.Shutdown(ctx), <-two)
	})
	// No client should see a gateway without routes that has them in a moment:
	// its connections wait in the backlog. A store that is down ends the wait.
	first, stop := context.WithTimeout(ctx, firstVersion)
	defer stop()
	if p.gateway.WaitStarted(first) != nil {
		p.log.Warn("no configuration yet, serving without")
	}
}

// firstVersion is how long the start waits for a first configuration.
const firstVersion = 5 * time.Second
