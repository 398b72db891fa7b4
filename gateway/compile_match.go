package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"sluice/configcenter/resource"
	"sluice/plugins"
	"sluice/router"
	"sluice/router/expr"
)

// conditions compiles what the router must know of the route.
func (b *routeBuilder) conditions() error {
	if _, err := b.c.entry(); err != nil {
		return err
	}
	when, err := vars(b.r.def)
	if err != nil {
		return err
	}
	b.c.when, err = b.filterFunc(when)
	return err
}

// entry is the route as the router wants it: made when it is asked for, since
// the router keeps what it needs.
func (c *compiled) entry() (router.Route[*route], error) {
	def := c.route.def
	e := router.Route[*route]{
		ID: string(def.ID), Paths: def.URIs, Methods: def.Methods,
		Priority: def.Priority, Order: c.order, When: c.when, To: c.route,
	}
	if def.URI != "" {
		e.Paths = []string{def.URI}
	}
	hosts := def.Hosts
	if def.Host != "" {
		hosts = []string{def.Host}
	} else if s := c.route.service; s != nil && len(hosts) == 0 {
		hosts = s.Hosts
	}
	for _, h := range hosts {
		e.Hosts = append(e.Hosts, strings.ToLower(h))
	}
	addrs := def.RemoteAddrs
	if def.RemoteAddr != "" {
		addrs = []string{def.RemoteAddr}
	}
	for _, a := range addrs {
		p, err := parsePrefix(a)
		if err != nil {
			return e, fmt.Errorf("remote_addr %q: %w", a, err)
		}
		e.Addrs = append(e.Addrs, p)
	}
	return e, nil
}

// vars compiles the conditions of a route on variables.
func vars(def *resource.Route) (func(*router.Input) bool, error) {
	if len(def.Vars) == 0 || string(def.Vars) == "[]" {
		return nil, nil
	}
	holds, err := expr.Compile(def.Vars, plugins.ExprValue)
	if err != nil {
		return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
	}
	return func(in *router.Input) bool { return holds.Eval(in.Ctx.(*plugins.Ctx)) }, nil
}

// parsePrefix reads an address or a network.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// cmpStrings compares two keys of two parts each.
func cmpStrings(a1, b1, a2, b2 string) int {
	return cmp.Or(strings.Compare(a1, b1), strings.Compare(a2, b2))
}
