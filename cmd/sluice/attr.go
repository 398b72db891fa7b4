package main

import (
	"encoding/json"
	"net"
	"strconv"

	"sluice/conf"
)

// pluginAttr is plugin_attr of config.yaml, with what some plugins also have to
// know of the rest of it: redirect on which ports we listen for https, and
// batch-requests in which field the client's address is taken from a peer, and
// proxy-cache which zones there are.
func (p *parts) pluginAttr(plugin string) json.RawMessage {
	written := p.cfg.PluginAttr[plugin]
	var name string
	var value any
	switch plugin {
	case "redirect":
		name, value = "listening", p.httpsPorts()
	case "batch-requests":
		name, value = "real_ip_header", p.cfg.Nginx.HTTP.RealIPHeader
	case "proxy-cache":
		name, value = "proxy_cache", p.cacheZones()
	default:
		return written
	}
	var members map[string]any
	if len(written) > 0 && json.Unmarshal(written, &members) != nil {
		return written // the plugin will say what is wrong
	}
	if members == nil { // nothing is written, or null
		members = map[string]any{}
	}
	members[name] = value
	text, err := json.Marshal(members)
	if err != nil {
		return written
	}
	return text
}

func (p *parts) httpsPorts() []int {
	var ports []int
	for _, l := range p.cfg.Listeners() {
		if _, port, err := net.SplitHostPort(l.Addr); err == nil && l.Service == conf.HTTPS {
			n, _ := strconv.Atoi(port) // an address that is listened on has one
			ports = append(ports, n)
		}
	}
	return ports
}

// cacheZone is a zone as plugins that cache see it; sizes are in bytes.
type cacheZone struct {
	Name       string `json:"name"`
	MemorySize int64  `json:"memory_size"`
	DiskSize   int64  `json:"disk_size,omitempty"`
	DiskPath   string `json:"disk_path,omitempty"`
	Levels     string `json:"cache_levels,omitempty"`
}

// cacheZones is apisix.proxy_cache, with its time in seconds.
func (p *parts) cacheZones() any {
	c := p.cfg.Apisix.ProxyCache
	if c == nil {
		return nil
	}
	zones := make([]cacheZone, len(c.Zones))
	for i, z := range c.Zones {
		zones[i] = cacheZone{z.Name, int64(z.MemorySize), int64(z.DiskSize), z.DiskPath, z.Levels}
	}
	return struct {
		TTL   float64     `json:"cache_ttl"`
		Zones []cacheZone `json:"zones"`
	}{c.TTL.Seconds(), zones}
}
