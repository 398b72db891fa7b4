package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/pires/go-proxyproto"

	"sluice/conf"
)

// opened is a listener with the place in the configuration it comes from.
type opened struct {
	conf.Listener
	l net.Listener
}

// openAll binds every address of the configuration before anything is served,
// so that a port in use is found at once. It opens all or none.
func openAll(cfg *conf.Config) (_ []opened, err error) {
	var ls []opened
	defer func() {
		if err != nil {
			closeAll(ls)
		}
	}()
	admin, err := adminTLS(cfg)
	if err != nil {
		return nil, err
	}
	for _, c := range cfg.Listeners() {
		l, err := bind(c.Addr)
		switch {
		case err == nil:
		case c.Optional && !errors.Is(err, syscall.EADDRINUSE):
			continue
		default:
			return ls, fmt.Errorf("%s: cannot listen on %s: %w", c.Key, c.Addr, reason(err))
		}
		if c.ProxyProtocol {
			l = &proxyproto.Listener{Listener: l, ConnPolicy: proxyPolicy(cfg), ReadHeaderTimeout: cfg.Nginx.HTTP.ClientHeaderTimeout}
		}
		if c.Service == conf.AdminAPI && admin != nil {
			l = tls.NewListener(l, admin)
		}
		ls = append(ls, opened{c, l})
	}
	return ls, nil
}

// bind listens on exactly the family of addr: 0.0.0.0 must not take [::] along.
func bind(addr string) (net.Listener, error) {
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		network = "tcp6"
		if ap.Addr().Is4() {
			network = "tcp4"
		}
	}
	return net.Listen(network, addr)
}

// reason is the innermost error: the outer ones repeat the address.
func reason(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("the port is in use by another process")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func closeAll(ls []opened) error {
	var errs []error
	for _, l := range ls {
		if err := l.l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// proxyPolicy takes the client's address from the PROXY header only from peers
// in real_ip_from, and only when real_ip_header says so. Otherwise the header
// is read and forgotten.
func proxyPolicy(cfg *conf.Config) proxyproto.ConnPolicyFunc {
	var from []netip.Prefix
	if cfg.Nginx.HTTP.RealIPHeader == "proxy_protocol" {
		from = conf.Networks(cfg.Nginx.HTTP.RealIPFrom)
	}
	return func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if peer, ok := o.Upstream.(*net.TCPAddr); ok {
			addr := peer.AddrPort().Addr().Unmap()
			for _, p := range from {
				if p.Contains(addr) {
					return proxyproto.REQUIRE, nil
				}
			}
		}
		return proxyproto.IGNORE, nil
	}
}
