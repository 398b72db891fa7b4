package main

import (
	"encoding/json"
	"net"
	"strconv"

	"sluice/conf"
)

// pluginAttr is plugin_attr of config.yaml, with what some plugins also have to
// know of the rest of it: redirect on which ports we listen for https, and
// batch-requests in which field the client's address is taken from a peer.
func (p *parts) pluginAttr(plugin string) json.RawMessage {
	written := p.cfg.PluginAttr[plugin]
	var name string
	var value any
	switch plugin {
	case "redirect":
		name, value = "listening", p.httpsPorts()
	case "batch-requests":
		name, value = "real_ip_header", p.cfg.Nginx.HTTP.RealIPHeader
	default:
		return written
	}
	members := map[string]any{}
	if len(written) > 0 && json.Unmarshal(written, &members) != nil {
		return written // the plugin will say what is wrong
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
