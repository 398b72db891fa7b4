// Package ipset holds sets of addresses and networks, as the plugins that
// judge by address have them in their configuration. It does not know where an
// address comes from.
package ipset

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
)

// Set is an immutable set of networks; safe for concurrent use. A nil Set is
// one that was not configured: it has nothing.
type Set struct {
	nets bart.Lite
}

// Parse makes a Set of addresses and CIDR networks, or nil when list is empty.
// An IPv4 address also stands for its form mapped into IPv6.
func Parse(list []string) (*Set, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s := new(Set)
	for _, text := range list {
		p, err := parse(text)
		if err != nil {
			return nil, err
		}
		s.nets.Insert(p)
	}
	return s, nil
}

func parse(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("invalid ip address: %s", text)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("invalid ip address: %s", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// Has reports whether a lies in one of the networks. An invalid address lies in none.
func (s *Set) Has(a netip.Addr) bool {
	return s != nil && a.IsValid() && s.nets.Contains(a.Unmap().WithZone(""))
}
