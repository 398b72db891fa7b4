package main

import (
	"encoding/json"
	"net"
	"os"
	"syscall"
	"testing"

	"sluice/conf"
	"sluice/gateway/h2"
)

// starved is a listener whose first Accept finds no descriptor left.
type starved struct {
	net.Listener
	tries int
}

func (l *starved) Accept() (net.Conn, error) {
	if l.tries++; l.tries == 1 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return nil, net.ErrClosed
}

// TestOutOfDescriptors: others will end, and then there are descriptors again.
func TestOutOfDescriptors(t *testing.T) {
	p := &parts{ctx: t.Context(), cfg: new(conf.Config)}
	l := new(starved)
	if err := p.serveTLS(new(h2.Server))(l); l.tries != 2 {
		t.Errorf("gave up after %d tries: %v", l.tries, err)
	}
}

// TestPluginAttr: what is joined to plugin_attr does not depend on what is there.
func TestPluginAttr(t *testing.T) {
	cfg := &conf.Config{PluginAttr: map[string]json.RawMessage{
		"batch-requests": json.RawMessage(`null`), "redirect": json.RawMessage(`[]`), "other": json.RawMessage(`{"a":1}`)}}
	cfg.Nginx.HTTP.RealIPHeader = "X-Real-IP"
	p := &parts{cfg: cfg}
	for plugin, want := range map[string]string{
		"batch-requests": `{"real_ip_header":"X-Real-IP"}`, "redirect": `[]`, "other": `{"a":1}`, "proxy-cache": `{"proxy_cache":null}`, "none": ``,
	} {
		if got := string(p.pluginAttr(plugin)); got != want {
			t.Errorf("%s: %s, want %s", plugin, got, want)
		}
	}
}
