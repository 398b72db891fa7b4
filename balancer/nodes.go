package balancer

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sluice/configcenter/resource"
)

// maxSplit bounds by how much weights are multiplied so that the addresses of a
// domain can share its weight evenly.
const maxSplit = 1 << 12

// found is what nodes became.
type found struct {
	eps   []*Endpoint
	nodes int // that have an endpoint
}

// literal parses a node's host as an IP address, with or without brackets.
func literal(host string) (netip.Addr, bool) {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

func hasDomain(nodes resource.Nodes) bool {
	return slices.ContainsFunc(nodes, func(n resource.Node) bool {
		_, ok := literal(n.Host)
		return !ok
	})
}

// expand makes endpoints of nodes. A domain becomes one endpoint for each of
// its addresses, which share its weight; one without address is left out. Of
// two endpoints of equal address and priority the later counts.
func expand(nodes resource.Nodes, addrs map[string][]netip.Addr, port int) found {
	f := found{}
	split := commonSplit(nodes, addrs)
	at := map[string]int{} // place in f.eps by priority and address
	for _, n := range nodes {
		if n.Port == 0 {
			n.Port = port
		}
		var eps []*Endpoint
		if _, ok := literal(n.Host); ok {
			eps = append(eps, endpoint(n, strings.Trim(n.Host, "[]"), n.Weight*split))
		} else {
			list := addrs[n.Host]
			weight := n.Weight * split
			if split > 1 || len(list) == 1 {
				weight /= max(len(list), 1)
			}
			for _, a := range list {
				e := endpoint(n, a.Unmap().String(), weight)
				if a = a.Unmap(); a.Is6() {
					e.ring = "[" + spelled(a) + "]:" + strconv.Itoa(n.Port)
				}
				eps = append(eps, e)
			}
		}
		if len(eps) > 0 {
			f.nodes++
		}
		for _, e := range eps {
			k := strconv.Itoa(e.Priority) + " " + e.Addr
			if i, dup := at[k]; dup {
				f.eps[i] = e
				continue
			}
			at[k] = len(f.eps)
			f.eps = append(f.eps, e)
		}
	}
	return f
}

func endpoint(n resource.Node, ip string, weight int) *Endpoint {
	return &Endpoint{
		Addr: net.JoinHostPort(ip, strconv.Itoa(n.Port)), Host: strings.Trim(n.Host, "[]"), Port: n.Port,
		Weight: weight, Priority: n.Priority, Meta: n.Metadata,
	}
}

// spelled is an IPv6 address as the DNS client of APISIX writes it, uncompressed
// and without leading zeros, so that it has the same place on a hash ring.
func spelled(a netip.Addr) string {
	b := a.As16()
	var parts []string
	for i := 0; i < 16; i += 2 {
		parts = append(parts, strconv.FormatUint(uint64(b[i])<<8|uint64(b[i+1]), 16))
	}
	return strings.Join(parts, ":")
}

// commonSplit is the least common multiple of the numbers of addresses; 1 when
// it would be too large, or a weight with it.
func commonSplit(nodes resource.Nodes, addrs map[string][]netip.Addr) int {
	l := 1
	for _, n := range nodes {
		if c := len(addrs[n.Host]); c > 1 {
			l *= c / int(gcd(uint64(l), uint64(c)))
		}
		if l > maxSplit {
			return 1
		}
	}
	for _, n := range nodes {
		if n.Weight > 1<<40 {
			return 1
		}
	}
	return l
}

// sameEndpoints reports whether a change of addresses changed anything.
func sameEndpoints(a, b []*Endpoint) bool {
	return slices.EqualFunc(a, b, func(x, y *Endpoint) bool {
		return x.Addr == y.Addr && x.Host == y.Host && x.Weight == y.Weight &&
			x.Priority == y.Priority && string(x.Meta) == string(y.Meta)
	})
}
