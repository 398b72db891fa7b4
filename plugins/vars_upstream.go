package plugins

import (
	"strings"
	"time"
)

// Variables about the upstream list one entry for each try, as nginx does.

func upstreamAddr(c *Ctx, b []byte) ([]byte, bool) {
	for i := range c.Tries {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, c.Tries[i].Addr...)
	}
	return b, len(c.Tries) > 0
}

func upstreamStatus(c *Ctx, b []byte) ([]byte, bool) {
	for i := range c.Tries {
		if i > 0 {
			b = append(b, ", "...)
		}
		if s := c.Tries[i].Status; s != 0 {
			b = appendStatus(b, s)
		} else {
			b = append(b, '-')
		}
	}
	return b, len(c.Tries) > 0
}

// times lists one of the durations of a try; "-" where it never got so far.
func times(of func(*Try) time.Duration) Appender {
	return func(c *Ctx, b []byte) ([]byte, bool) {
		for i := range c.Tries {
			if i > 0 {
				b = append(b, ", "...)
			}
			t := &c.Tries[i]
			if d := of(t); d > 0 || t.Header > 0 {
				b = AppendSeconds(b, d)
			} else {
				b = append(b, '-')
			}
		}
		return b, len(c.Tries) > 0
	}
}

func upstreamScheme(c *Ctx) (string, bool) {
	if c.UpstreamScheme == "" {
		return "http", true
	}
	return c.UpstreamScheme, true
}

// upstreamHost is the Host that the upstream sees or will see: the client's, or
// what pass_host makes of it.
func upstreamHost(c *Ctx, b []byte) ([]byte, bool) {
	switch {
	case c.UpstreamHost != "":
		return append(b, c.UpstreamHost...), true
	case c.upstream == nil || c.upstream.Def() == nil:
	case c.upstream.Def().PassHost == "rewrite":
		return append(b, c.upstream.Def().UpstreamHost...), true
	case c.upstream.Def().PassHost == "node" && len(c.Tries) > 0:
		b = append(b, c.Tries[len(c.Tries)-1].Host...)
		own := "80"
		if c.UpstreamScheme == "https" || c.UpstreamScheme == "grpcs" {
			own = "443"
		}
		if _, port, _ := lastTry(c); port != "" && port != own {
			b = append(b, ':')
			b = append(b, port...)
		}
		return b, true
	}
	return append(b, c.Req.Host...), c.Req.Host != ""
}

func upstreamConnection(c *Ctx) (string, bool) {
	if c.Req.Upgrade != "" {
		return "upgrade", true
	}
	return "", true
}

func unresolvedHost(c *Ctx) (string, bool) {
	if len(c.Tries) == 0 {
		return "", true
	}
	return c.Tries[len(c.Tries)-1].Host, true
}

// lastTry splits the address of the last try.
func lastTry(c *Ctx) (ip, port string, ok bool) {
	if len(c.Tries) == 0 {
		return "", "", false
	}
	addr := c.Tries[len(c.Tries)-1].Addr
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr, "", true
	}
	return strings.Trim(addr[:i], "[]"), addr[i+1:], true
}

func balancerIP(c *Ctx) (string, bool) {
	ip, _, ok := lastTry(c)
	return ip, ok
}

func balancerPort(c *Ctx) (string, bool) {
	_, port, ok := lastTry(c)
	return port, ok && port != ""
}
