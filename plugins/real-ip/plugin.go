// Package realip takes the client's address from where a peer that is trusted
// puts it.
package realip

import (
	_ "embed"
	"net/netip"
	"strconv"
	"strings"

	"sluice/plugins"
	"sluice/plugins/internal/ipset"
)

//go:embed schema.json
var schema string

// Plugin is real-ip.
var Plugin = plugins.Spec{
	Name:     "real-ip",
	Priority: 23000,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	TrustedAddresses []string `json:"trusted_addresses"`
	Source           string   `json:"source"`
	Recursive        bool     `json:"recursive"`
}

type realIP struct {
	config
	trusted *ipset.Set // nil: everybody is
	get     plugins.Getter
}

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	trusted, err := ipset.Parse(c.TrustedAddresses)
	if err != nil {
		return plugins.Phases{}, err
	}
	if err := plugins.CheckVariable(c.Source); err != nil {
		return plugins.Phases{}, err
	}
	r := &realIP{*c, trusted, plugins.Variable(c.Source)}
	if c.Source == "http_x_forwarded_for" {
		r.get = r.forwardedFor
	}
	return plugins.Phases{Rewrite: r.rewrite}, nil
}

func (r *realIP) rewrite(c *plugins.Ctx) (*plugins.Reply, error) {
	if r.trusted != nil && !r.trusted.Has(c.Addr) {
		return nil, nil
	}
	text, ok := r.get(c)
	if !ok {
		c.Log().Warn("missing real address")
		return nil, nil
	}
	addr, port, ok := parse(text)
	if !ok {
		c.Log().Warn("bad address", "address", text)
		return nil, nil
	}
	c.Addr, c.Port = addr, port
	return nil, nil
}

// forwardedFor is the last address of the last X-Forwarded-For; with Recursive
// the last that is not trusted itself, or the first when all are.
func (r *realIP) forwardedFor(c *plugins.Ctx) (string, bool) {
	list, found := "", false
	h := &c.Req.Header
	for i := range h.Len() {
		if f := h.At(i); strings.EqualFold(f.Name, "X-Forwarded-For") {
			list, found = f.Value, true
		}
	}
	for {
		i := strings.LastIndexByte(list, ',')
		last := strings.TrimSpace(list[i+1:])
		if i < 0 || !r.Recursive || r.trusted == nil || !r.isTrusted(last) {
			return last, found
		}
		list = list[:i]
	}
}

func (r *realIP) isTrusted(text string) bool {
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return err == nil && r.trusted.Has(a)
}

// parse reads "ip", "[ip]", "ip:port" and "[ip]:port"; no port is 0.
func parse(text string) (netip.Addr, uint16, bool) {
	host, port := text, uint64(0)
	if i := strings.LastIndexByte(text, ':'); i > 0 && (text[i-1] == ']' || strings.IndexByte(text, ':') == i) {
		var err error
		if port, err = strconv.ParseUint(text[i+1:], 10, 16); err != nil || port == 0 {
			return netip.Addr{}, 0, false
		}
		host = text[:i]
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), uint16(port), err == nil && a.Zone() == ""
}
