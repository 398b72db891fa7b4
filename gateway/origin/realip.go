// Package origin says who a request comes from, and who may see what the
// gateway did with it. It does not know routes or versions.
package origin

import (
	"net/netip"
	"strings"

	"sluice/plugins"
)

// RealIP is nginx's real_ip: peers in From may tell the client's address in Header.
type RealIP struct {
	Header    string // "" off; "proxy_protocol": the listener did it already
	From      []netip.Prefix
	Recursive bool
}

// Apply replaces the client's address by what a trusted peer says it is. What
// cannot be read as an address is ignored.
func (r *RealIP) Apply(c *plugins.Ctx) {
	if r.Header == "" || len(r.From) == 0 || !Contains(r.From, c.Addr) {
		return
	}
	if strings.EqualFold(r.Header, "X-Forwarded-For") {
		r.fromChain(c)
		return
	}
	if v := c.Req.Header.Get(r.Header); v != "" {
		if a, port, ok := parseAddr(v); ok {
			c.Addr, c.Port = a, port
		}
	}
}

// fromChain takes the last address of X-Forwarded-For, or with Recursive the
// last one that is not trusted itself.
func (r *RealIP) fromChain(c *plugins.Ctx) {
	list := strings.Join(c.Req.Header.Values("X-Forwarded-For"), ",")
	for list != "" {
		i := strings.LastIndexByte(list, ',')
		a, port, ok := parseAddr(list[i+1:])
		if !ok {
			return
		}
		c.Addr, c.Port = a, port
		if i < 0 || !r.Recursive || !Contains(r.From, a) {
			return
		}
		list = list[:i]
	}
}

// parseAddr reads "ip", "ip:port" and "[v6]:port".
func parseAddr(s string) (netip.Addr, uint16, bool) {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), ap.Port(), true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap(), 0, err == nil
}

// Contains reports whether one of the networks has the address.
func Contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
