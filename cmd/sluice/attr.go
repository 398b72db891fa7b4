package main

import (
	"encoding/json"
	"net"
	"strconv"

	"sluice/conf"
)

// pluginAttr is plugin_attr of config.yaml; redirect also learns on which ports
// we listen for https, unless it was told a port.
func (p *parts) pluginAttr(plugin string) json.RawMessage {
	written := p.cfg.PluginAttr[plugin]
	if plugin != "redirect" {
		return written
	}
	members := map[string]any{}
	if len(written) > 0 && json.Unmarshal(written, &members) != nil {
		return written // the plugin will say what is wrong
	}
	var ports []int
	for _, l := range p.cfg.Listeners() {
		if _, port, err := net.SplitHostPort(l.Addr); err == nil && l.Service == conf.HTTPS {
			n, _ := strconv.Atoi(port) // an address that is listened on has one
			ports = append(ports, n)
		}
	}
	members["listening"] = ports
	text, err := json.Marshal(members)
	if err != nil {
		return written
	}
	return text
}
