package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sluice/balancer"
)

// ask finds out about a host: every name it may stand for, every type in
// order, until one has records. A host that does not exist gives an error that
// wraps balancer.ErrNotFound, and with it the time until that may be relied on.
func (c *Client) ask(ctx context.Context, host string, last uint16) (answer, error) {
	var broken error
	until := time.Time{}
	for _, name := range c.names(host) {
		a, err := c.askName(ctx, name, last)
		switch {
		case err == nil:
			return a, nil
		case !errors.Is(err, balancer.ErrNotFound):
			if broken == nil {
				broken = err
			}
			if ctx.Err() != nil {
				return answer{}, broken
			}
		case until.IsZero() || a.until.Before(until):
			until = a.until
		}
	}
	if broken != nil {
		return answer{}, broken
	}
	return answer{until: until}, fmt.Errorf("dns server error: 3 name error: %w: %s", balancer.ErrNotFound, host)
}

func (c *Client) askName(ctx context.Context, name string, last uint16) (answer, error) {
	var (
		broken error
		asked  []uint16
		until  = c.now().Add(negativeTTL)
	)
	for _, t := range c.types {
		if t == 0 {
			t = last
		}
		if t == 0 || slices.Contains(asked, t) {
			continue
		}
		asked = append(asked, t)
		a, exists, err := c.askType(ctx, name, t)
		if err != nil {
			broken = err
			continue
		}
		if len(a.addrs) > 0 || len(a.srv) > 0 {
			a.kind = t
			return a, nil
		}
		if a.until.Before(until) {
			until = a.until
		}
		if !exists { // of no type
			return answer{until: until}, balancer.ErrNotFound
		}
	}
	if broken != nil {
		return answer{}, broken
	}
	return answer{until: until}, balancer.ErrNotFound
}

// askType follows a name's aliases and collects its records of a type.
func (c *Client) askType(ctx context.Context, name string, t uint16) (a answer, exists bool, err error) {
	ttl := ^uint32(0)
	for range maxChain {
		m, err := c.exchange(ctx, name, t)
		if err != nil {
			return answer{}, false, err
		}
		from := name
		name = follow(m, name, &ttl)
		a.collect(m, name, t, &ttl)
		if len(a.addrs) > 0 || len(a.srv) > 0 {
			a.until = c.expiry(ttl)
			a.sort()
			return a, true, nil
		}
		if m.Rcode == dns.RcodeNameError || name == from {
			return answer{until: c.negative(m)}, m.Rcode != dns.RcodeNameError, nil
		}
		if t == dns.TypeCNAME { // known is where it points, not what is there
			t = dns.TypeA
		}
	}
	return answer{}, false, fmt.Errorf("dns %s: too many aliases", name)
}

// follow goes along the aliases in a message.
func follow(m *dns.Msg, name string, ttl *uint32) string {
	for range maxChain {
		next := ""
		for _, rr := range m.Answer {
			if cn, ok := rr.(*dns.CNAME); ok && strings.EqualFold(cn.Hdr.Name, name) {
				next = cn.Target
				*ttl = min(*ttl, cn.Hdr.Ttl)
				break
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return name
}

func (a *answer) collect(m *dns.Msg, name string, t uint16, ttl *uint32) {
	for _, rr := range m.Answer {
		if !strings.EqualFold(rr.Header().Name, name) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			ip, ok := netip.AddrFromSlice(rr.A)
			if !ok || t != dns.TypeA && t != dns.TypeCNAME {
				continue
			}
			a.addrs = append(a.addrs, ip.Unmap())
		case *dns.AAAA:
			ip, ok := netip.AddrFromSlice(rr.AAAA)
			if !ok || t != dns.TypeAAAA && t != dns.TypeCNAME {
				continue
			}
			a.addrs = append(a.addrs, ip)
		case *dns.SRV:
			if t != dns.TypeSRV {
				continue
			}
			a.srv = append(a.srv, rr)
		default:
			continue
		}
		*ttl = min(*ttl, rr.Header().Ttl)
	}
}

// sort makes answers equal whose records only come in another order.
func (a *answer) sort() {
	slices.SortFunc(a.addrs, netip.Addr.Compare)
	a.addrs = slices.Compact(a.addrs)
	slices.SortFunc(a.srv, func(x, y *dns.SRV) int { return strings.Compare(srvKey(x), srvKey(y)) })
}

func srvKey(r *dns.SRV) string {
	return fmt.Sprintf("%05d %s %05d %05d", r.Priority, r.Target, r.Port, r.Weight)
}

func (c *Client) expiry(ttl uint32) time.Time {
	d := time.Duration(ttl) * time.Second
	if c.conf.Valid > 0 {
		d = c.conf.Valid
	}
	return c.now().Add(d)
}

// negative is until when a name's absence may be relied on.
func (c *Client) negative(m *dns.Msg) time.Time {
	d := negativeTTL
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			d = min(d, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
		}
	}
	return c.now().Add(max(d, brokenTTL))
}

// exchange asks the servers in turn, each at most twice, until one gives an
// answer. It begins with the one that answered last, so that a server that is
// down costs its timeout once and not with every question.
func (c *Client) exchange(ctx context.Context, name string, t uint16) (*dns.Msg, error) {
	var last error
	n := uint32(len(c.conf.Servers))
	first := c.server.Load()
	for i := range 2 * n {
		at := (first + i) % n
		m, err := c.try(ctx, c.conf.Servers[at], name, t)
		if err == nil {
			if at != first {
				c.server.Store(at)
			}
			return m, nil
		}
		last = fmt.Errorf("dns server %s, %s %s: %w", c.conf.Servers[at], dns.TypeToString[t], name, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// try asks one server, over TCP if the answer was too long for UDP.
func (c *Client) try(ctx context.Context, server, name string, t uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, t)
	q.SetEdns0(udpSize, false)
	m, err := c.send(ctx, "udp", server, q)
	if err == nil && m.Rcode == dns.RcodeFormatError { // a server that does not know EDNS
		q.Extra = nil
		m, err = c.send(ctx, "udp", server, q)
	}
	if err == nil && m.Truncated {
		m, err = c.send(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("dns server error: %d %s", m.Rcode, dns.RcodeToString[m.Rcode])
	}
	return m, nil
}

func (c *Client) send(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	client := dns.Client{Net: network, UDPSize: udpSize, Timeout: tryTimeout}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // Close does not wait
	defer stop()
	m, _, err := client.ExchangeWithConnContext(ctx, q, conn)
	if err != nil {
		return nil, err
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != q.Question[0].Qtype ||
		!strings.EqualFold(m.Question[0].Name, q.Question[0].Name) {
		return nil, errors.New("answer to another question")
	}
	return m, nil
}
