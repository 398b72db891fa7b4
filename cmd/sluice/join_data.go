package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"sluice/balancer"
	"sluice/balancer/discovery/dns"
	"sluice/balancer/probe"
	"sluice/conf"
	"sluice/configcenter/resource"
	"sluice/gateway"
	"sluice/gateway/h2"
	"sluice/gateway/lane"
	"sluice/gateway/lua"
	"sluice/gateway/wire"
)

// openServer makes what answers on the data listeners: the HTTP/1.1 engine,
// HTTP/2 beside it, and TLS in front of both.
func (p *parts) openServer() error {
	n, l := &p.cfg.Nginx.HTTP, &p.cfg.Sluice.Limits
	ended := func(remote net.Addr, err *wire.Error) {
		p.log.Debug("connection ended", "remote", remote.String(), "err", err)
	}
	two := h2.New(p.gateway, h2.Options{HeaderBytes: uint32(l.HeaderBytes), IdleTimeout: n.KeepaliveTimeout,
		BodyTimeout: n.ClientBodyTimeout, SendTimeout: n.SendTimeout, BadRequest: p.gateway.Refused, OnError: ended})
	p.two = two
	if p.cfg.Sluice.Engine == wire.Loops {
		// Each loop has a processor, while it waits for the kernel too. One more
		// runs what is not theirs, without the runtime taking theirs away.
		runtime.GOMAXPROCS(lane.N + 1)
	}
	p.server = &wire.Server{
		Handler:    p.gateway,
		Limits:     wire.Limits{HeaderBytes: int(l.HeaderBytes), Fields: l.HeaderFields},
		Timeouts:   wire.Timeouts{Header: n.ClientHeaderTimeout, Body: n.ClientBodyTimeout, Send: n.SendTimeout, Idle: n.KeepaliveTimeout},
		Engine:     p.cfg.Sluice.Engine,
		BadRequest: p.gateway.Refused,
		OnError:    ended,
	}
	if p.cfg.Apisix.EnableHTTP2 {
		p.server.H2C = two.ServeConn
	}
	p.https = p.serveTLS(two)
	return nil
}

// serveTLS serves HTTPS listeners: the handshake chooses the certificate by
// name from the live version, and the protocol by ALPN.
func (p *parts) serveTLS(two *h2.Server) func(net.Listener) error {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: !p.cfg.Apisix.SSL.SessionTickets,
		GetConfigForClient:     p.gateway.TLSConfig,
		NextProtos:             nextProtos(p.cfg.Apisix.EnableHTTP2),
	}
	return func(l net.Listener) error {
		for wait := acceptAgain; ; {
			c, err := l.Accept()
			if err == nil {
				wait = acceptAgain
				go p.serveTLSConn(tls.Server(c, base), two)
				continue
			}
			var may interface{ Temporary() bool }
			if !errors.As(err, &may) || !may.Temporary() {
				return err
			}
			select { // out of descriptors, perhaps: others will end
			case <-time.After(wait):
			case <-p.ctx.Done():
				return nil
			}
			wait = min(2*wait, time.Second)
		}
	}
}

// acceptAgain is the first pause after a connection that could not be accepted.
const acceptAgain = 5 * time.Millisecond

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

func (p *parts) serveTLSConn(c *tls.Conn, two *h2.Server) {
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	if err := c.HandshakeContext(p.ctx); err != nil {
		p.log.Info("TLS handshake failed", "remote", c.RemoteAddr().String(), "err", err)
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		two.ServeConn(c)
		return
	}
	p.server.ServeConn(c)
}

// lua opens the one host of Lua that the gateway and the plugins share.
func (p *parts) lua() *lua.Host {
	h, release := lua.Share(p.shared, lua.Options{Log: p.log, Dicts: p.sharedDicts(), Getenv: func(name string) string {
		for _, line := range p.cfg.Nginx.Envs { // as nginx: only the variables that are let through
			if own, value, set := strings.Cut(line, "="); own == name {
				if set {
					return value
				}
				return os.Getenv(name)
			}
		}
		return ""
	}})
	p.onCloseDo(release)
	return h
}

// sharedDicts are the sizes of ngx.shared; the user's own win.
func (p *parts) sharedDicts() map[string]int {
	sizes := map[string]int{}
	for _, list := range []map[string]conf.Size{p.cfg.Nginx.HTTP.LuaSharedDict, p.cfg.Nginx.HTTP.CustomLuaSharedDict} {
		for name, size := range list {
			sizes[name] = int(size)
		}
	}
	return sizes
}

func (p *parts) resolver() (balancer.Resolver, error) {
	a := &p.cfg.Apisix
	c, err := dns.New(dns.Config{
		Servers: a.DNSResolver, ResolvConf: "/etc/resolv.conf", Hosts: "/etc/hosts",
		Search: a.EnableResolvSearchOpt, NoIPv6: !a.EnableIPv6,
		Valid: time.Duration(a.DNSResolverValid) * time.Second, Timeout: a.ResolverTimeout, Log: p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("apisix.dns_resolver: %w", err)
	}
	p.onCloseDo(c.Close)
	return c, nil
}

// discovery opens the service discoveries that config.yaml configures.
func (p *parts) discovery() (map[string]gateway.Discovery, error) {
	found := map[string]gateway.Discovery{}
	for kind, conf := range p.cfg.Discovery {
		switch kind {
		case "dns":
			d, err := p.dnsDiscovery(conf)
			if err != nil {
				return nil, fmt.Errorf("discovery.dns: %w", err)
			}
			found[kind] = d
		default:
			p.log.Warn("this service discovery is not there yet; its upstreams have no nodes", "discovery", kind)
		}
	}
	return found, nil
}

func (p *parts) dnsDiscovery(conf json.RawMessage) (gateway.Discovery, error) {
	var o struct {
		Servers    []string `json:"servers"`
		ResolvConf string   `json:"resolv_conf"`
		Order      []string `json:"order"`
	}
	if err := json.Unmarshal(conf, &o); err != nil {
		return nil, err
	}
	if len(o.Order) == 0 {
		o.Order = []string{"last", "SRV", "A", "AAAA", "CNAME"}
	}
	c, err := dns.New(dns.Config{Servers: o.Servers, ResolvConf: o.ResolvConf, Order: o.Order, Log: p.log})
	if err != nil {
		return nil, err
	}
	p.onCloseDo(c.Close)
	return func(ctx context.Context, u *resource.Upstream) (balancer.Found, error) {
		return c.Nodes(ctx, u.ServiceName)
	}, nil
}

// probe is how active health checks ask; ssl_trusted_certificate says whom an
// https probe believes.
func (p *parts) probe() (balancer.Probe, error) {
	file := p.cfg.Apisix.SSL.TrustedCertificate
	if file == "" || file == "system" {
		return probe.New(nil), nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("apisix.ssl.ssl_trusted_certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("apisix.ssl.ssl_trusted_certificate: no certificate in %s", file)
	}
	return probe.New(roots), nil
}
