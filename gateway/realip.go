package gateway

import (
	"net/netip"
	"strings"
)

// apply replaces the client's address by what a trusted peer says it is. What
// cannot be read as an address is ignored.
func (r *RealIP) apply(w *walk) {
	if r.Header == "" || len(r.From) == 0 || !contains(r.From, w.Addr) {
		return
	}
	if strings.EqualFold(r.Header, "X-Forwarded-For") {
		r.fromChain(w)
		return
	}
	if v := w.Req.Header.Get(r.Header); v != "" {
		if a, port, ok := parseAddr(v); ok {
			w.Addr, w.Port = a, port
		}
	}
}

// fromChain takes the last address of X-Forwarded-For, or with Recursive the
// last one that is not trusted itself.
func (r *RealIP) fromChain(w *walk) {
	list := strings.Join(w.Req.Header.Values("X-Forwarded-For"), ",")
	for list != "" {
		i := strings.LastIndexByte(list, ',')
		a, port, ok := parseAddr(list[i+1:])
		if !ok {
			return
		}
		w.Addr, w.Port = a, port
		if i < 0 || !r.Recursive || !contains(r.From, a) {
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

func contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// text is the parts joined: short-lived, made without garbage.
func (w *walk) text(parts ...string) string {
	b := w.Scratch()
	for _, p := range parts {
		b = append(b, p...)
	}
	return w.Keep(b)
}

// lower is s in lower case (ASCII), as short-lived as text.
func (w *walk) lower(s string) string {
	b := w.Scratch()
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return w.Keep(b)
}
