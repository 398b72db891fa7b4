package gateway

import (
	"net/netip"

	"sluice/gateway/tally"
)

// Timeline says who may see how long the plugins took. The zero value shows it
// to nobody.
type Timeline struct {
	// Log times every request, so that $plugin_timeline always has a value.
	Log bool
	// Header is the response field that has the times up to the response's
	// header; "" for none.
	Header string
	// From are the clients that get it: it tells which plugins stand before what,
	// and how long each looks at a credential.
	From []netip.Prefix
	// Trigger is a request field that a client has to send for it; "": it gets
	// the times with every response.
	Trigger string
}

// ask has the plugins of this request timed if its client is to see that.
func (t *Timeline) ask(w *walk) {
	if t.Header == "" || t.Trigger != "" && !w.Req.Header.Has(t.Trigger) {
		return
	}
	for _, p := range t.From {
		if p.Contains(w.Addr) {
			w.Timeline().Show()
			w.told = true
			return
		}
	}
}

// tell puts the times into the response.
func (t *Timeline) tell(w *walk) {
	if !w.told {
		return
	}
	if b, ok := w.Timeline().Append(w.Scratch()); ok {
		w.Resp.Header.Set(t.Header, w.Keep(b))
	}
}

// PluginCounts are what the plugins in use did since the start.
func (g *Gateway) PluginCounts() []tally.Reading { return g.comp.instances.book.Read() }
