package origin

import (
	"net/netip"

	"sluice/plugins"
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

// Ask has the plugins of this request timed if its client is to see that, which
// it reports.
func (t *Timeline) Ask(c *plugins.Ctx) bool {
	if t.Header == "" || t.Trigger != "" && !c.Req.Header.Has(t.Trigger) || !Contains(t.From, c.Addr) {
		return false
	}
	c.Timeline().Show()
	return true
}

// Tell puts the times into the response.
func (t *Timeline) Tell(c *plugins.Ctx) {
	if b, ok := c.Timeline().Append(c.Scratch()); ok {
		c.Resp.Header.Set(t.Header, c.Keep(b))
	}
}
