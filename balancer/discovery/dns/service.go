package dns

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/miekg/dns"

	"sluice/balancer"
	"sluice/configcenter/resource"
)

// Nodes finds the nodes of a service, which is a name with or without a port.
// Of SRV records the nodes have port, weight and priority (lower is first, so it
// is negated); a port in the service's name goes before theirs. Other nodes have
// weight 1. A node of port 0 takes the default port of its scheme.
func (c *Client) Nodes(ctx context.Context, service string) (balancer.Found, error) {
	host, port := splitService(service)
	a, err := c.get(ctx, host, 0)
	if err != nil {
		return balancer.Found{}, fmt.Errorf("failed to query the DNS server: %w", err)
	}
	found := balancer.Found{Until: a.until}
	if len(a.srv) == 0 {
		for _, ip := range a.addrs {
			found.Nodes = append(found.Nodes, resource.Node{Host: ip.String(), Port: port, Weight: 1})
		}
		return found, nil
	}
	targets := make([]answer, len(a.srv))
	split := 1 // least common multiple of the targets' numbers of addresses
	for i, r := range a.srv {
		t, err := c.get(ctx, r.Target, 0)
		if err = t.need(r.Target, err); err != nil {
			// Not wrapped: that a target is missing does not say that the service is.
			return balancer.Found{}, fmt.Errorf("failed to resolve SRV record %s: %s", r.Target, err)
		}
		targets[i] = t
		split = lcm(split, len(t.addrs))
		if t.until.Before(found.Until) {
			found.Until = t.until
		}
	}
	for i, r := range a.srv {
		found.Nodes = append(found.Nodes, srvNodes(r, targets[i], port, split)...)
	}
	return found, nil
}

// srvNodes divides a record's weight among the addresses of its target.
func srvNodes(r *dns.SRV, t answer, port, split int) (nodes resource.Nodes) {
	if port == 0 {
		port = int(r.Port)
	}
	weight := max(int(r.Weight), 1) * split / len(t.addrs)
	for _, ip := range t.addrs {
		nodes = append(nodes, resource.Node{
			Host: ip.String(), Port: port, Weight: weight, Priority: -int(r.Priority),
		})
	}
	return nodes
}

// splitService splits "name:port"; a name without a port gives 0.
func splitService(s string) (host string, port int) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			return h, int(n)
		}
	}
	return s, 0
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}
