package gateway

import (
	"strconv"

	"sluice/gateway/origin"
	"sluice/gateway/uri"
	"sluice/gateway/wire"
	"sluice/plugins"
)

// forwarded replaces what the client says about where it came from by what we
// saw: X-Forwarded-Proto, -Host and -Port, and drops Forwarded. Plugins and
// variables see the replaced values; the client's own stay readable as
// original_x_forwarded_*. A peer in trusted_addresses keeps its values; with
// that list configured, anyone else's X-Forwarded-For goes too.
// (APISIX: handle_trusted_x_forwarded_headers.)
func (w *walk) forwarded() {
	h := &w.Req.Header
	if !tells(h) {
		h.AddOwn("X-Forwarded-Proto", w.scheme())
		h.Add("X-Forwarded-Host", w.Req.Host)
		h.AddOwn("X-Forwarded-Port", w.observedPort())
		return
	}
	o := &w.g.o
	trusted := o.HasTrusted && origin.Contains(o.Trusted, w.Req.Remote.Addr().Unmap())
	proto, hasProto := h.Lookup("X-Forwarded-Proto")
	host, hasHost := h.Lookup("X-Forwarded-Host")
	port, hasPort := h.Lookup("X-Forwarded-Port")
	fwd, hasFwd := h.Lookup("Forwarded")
	if xff, ok := h.Lookup("X-Forwarded-For"); ok {
		w.SetOriginal("original_x_forwarded_for", xff)
		if o.HasTrusted && !trusted {
			h.Del("X-Forwarded-For")
		}
	}
	w.keepOriginal(hasProto, "original_x_forwarded_proto", proto)
	w.keepOriginal(hasHost, "original_x_forwarded_host", host)
	w.keepOriginal(hasPort, "original_x_forwarded_port", port)
	w.keepOriginal(hasFwd, "original_forwarded", fwd)
	if !trusted || proto == "" {
		h.Set("X-Forwarded-Proto", w.scheme())
	}
	if !trusted || host == "" {
		h.Set("X-Forwarded-Host", w.Req.Host)
	}
	if !trusted || port == "" {
		h.Set("X-Forwarded-Port", w.observedPort())
	}
	if hasFwd && !trusted {
		h.Del("Forwarded")
	}
}

// tells reports whether the client may have said where it came from: most say
// nothing, and are done with one look at the lengths of the names.
func tells(h *wire.Header) bool {
	for i := range h.Len() {
		name := h.NameAt(i)
		switch len(name) {
		case len("Forwarded"), len("X-Forwarded-For"), len("X-Forwarded-Host"), len("X-Forwarded-Proto"):
			if c := name[0] | 0x20; c == 'x' || c == 'f' {
				return true
			}
		}
	}
	return false
}

func (w *walk) keepOriginal(has bool, name, value string) {
	if has {
		w.SetOriginal(name, value)
	}
}

func (w *walk) scheme() string {
	if w.Req.TLS != nil {
		return "https"
	}
	return "http"
}

// observedPort is the port in the Host field, or the one the client connected to.
func (w *walk) observedPort() string {
	host := w.Req.Host
	if name := uri.Host(host); len(name) < len(host)-1 {
		return host[len(name)+1:]
	}
	return w.Keep(strconv.AppendUint(w.Scratch(), uint64(w.Req.Local.Port()), 10))
}

// clientChain sets X-Real-IP and appends the client to X-Forwarded-For, as the
// upstream sees them.
func (w *walk) clientChain() {
	h := &w.Req.Header
	addr, _ := clientAddr(&w.Ctx)
	h.SetOwn("X-Real-IP", addr)
	chain, ok := h.Lookup("X-Forwarded-For")
	if !ok {
		h.AddOwn("X-Forwarded-For", addr)
		return
	}
	if chain != "" {
		first := true
		for name, v := range h.All() { // further fields of that name join the chain
			switch {
			case !wire.EqualFold(name, "X-Forwarded-For"):
			case first:
				first = false
			default:
				chain = w.text(chain, ", ", v)
			}
		}
		addr = w.text(chain, ", ", addr)
	}
	h.Set("X-Forwarded-For", addr)
}

var clientAddr = plugins.Variable("remote_addr")
