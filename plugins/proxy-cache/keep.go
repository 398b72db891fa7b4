package proxycache

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/internal/cache"
)

// received keeps what an upstream answered, if it may be kept.
func (p *caching) received(c *plugins.Ctx) error {
	q, ok := c.Value(p).(*request)
	if !ok {
		return nil
	}
	q.restore(c)
	if !q.keep {
		return nil
	}
	if p.keep(c, q) && p.onDisk() && c.Resp.Status == 200 {
		p.cut(c)
	}
	return nil
}

// keep puts c's response into the zone as it passes, unless it must not be kept.
func (p *caching) keep(c *plugins.Ctx, q *request) bool {
	q.keep = false
	r := c.Resp
	h := &r.Header
	control := cache.Control(h)
	vary, ok := cache.Vary(h)
	if !ok || !p.allowed(c, &control) {
		return false
	}
	valid, ok := p.valid(h, &control)
	if !ok {
		return false
	}
	e := cache.NewEntry(q.key, c.Req, q.body, vary, r.Status, h, func(name string) bool {
		// What plugins set for this request is not the response's: on the way from
		// an upstream it is not there yet.
		return kept(name) && (c.ReplySource == "upstream" || !c.RespHeader.Has(name))
	})
	e.Age = cache.Age(h)
	p.zone.Fill(e, q.ticket, r, p.limit, valid)
	return true
}

// allowed says whether c's response may be given to others at all.
func (p *caching) allowed(c *plugins.Ctx, control *cache.Directives) bool {
	r := c.Resp
	switch {
	case !slices.Contains(p.CacheHTTPStatus, r.Status), r.Status == 206, r.Status == 304, r.Header.Has("Content-Range"):
		return false // also where a part is asked for to be kept: it would answer as the whole
	case control.NoStore, control.NoCache, control.Private:
		return false
	case c.Req.Method == "HEAD" && c.UpstreamMethod != "GET":
		return false // it has no body, and a GET would get none
	case r.Header.Has("Set-Cookie") && (p.onDisk() || !p.CacheSetCookie):
		return false
	case c.Req.Header.Has("Authorization") && !p.apart(c) && !control.Public && !control.MustRevalidate && control.SharedMaxAge < 0:
		return false
	}
	return !p.unkept.say(c)
}

// apart says whether those who could get the response have the same rights as
// who asked. A name in Authorization proves nothing before somebody looked at
// the password: with the upstream doing that, only its word counts.
func (p *caching) apart(c *plugins.Ctx) bool {
	return !p.ConsumerIsolation || c.Consumer != nil || p.key.credentials
}

// valid is how long a response is good for.
func (p *caching) valid(h *wire.Header, control *cache.Directives) (time.Duration, bool) {
	if !p.onDisk() && !p.CacheControl {
		return p.ttl, true
	}
	if p.onDisk() {
		if v, ok := h.Lookup("X-Accel-Expires"); ok {
			return p.accelerated(v)
		}
	}
	valid, told := control.Lifetime(h, p.now())
	if !told && p.onDisk() {
		return p.ttl, p.ttl > 0
	}
	return valid, valid > 0
}

// longest is how long anything is good for, in seconds: ten years.
const longest = 10 * 365 * 24 * 3600

// accelerated reads X-Accel-Expires: seconds, or a time after "@".
func (p *caching) accelerated(v string) (time.Duration, bool) {
	at, absolute := strings.CutPrefix(v, "@")
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return p.ttl, p.ttl > 0
	}
	if absolute {
		n -= p.now().Unix()
	}
	return time.Duration(min(n, longest)) * time.Second, n > 0
}

// unkeptFields are made anew for every response.
var unkeptFields = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Age", "Server", "X-APISIX-Upstream-Status", statusField}

func kept(name string) bool {
	for _, other := range unkeptFields {
		if wire.EqualFold(name, other) {
			return false
		}
	}
	return !strings.Contains(strings.ToLower(name), "ratelimit-remaining")
}

// reply answers c with e, or with the part of it that c asks for; nil when its
// body cannot be read.
func (p *caching) reply(c *plugins.Ctx, e *cache.Entry) *plugins.Reply {
	part := cache.Part{Status: e.Status, N: e.Length}
	if e.Status == 200 {
		part = cache.Select(&c.Req.Header, &e.Header, e.Length)
	}
	rep := &plugins.Reply{Status: part.Status, Header: e.Header}
	if part.Status != e.Status {
		rep.Header = partial(&e.Header, &part)
	}
	switch part.Status {
	case 412, 416:
		return rep
	case 304:
		rep.Body = &plugins.Content{}
		return rep
	}
	b, stream, err := p.zone.Open(e, part.From, part.N)
	if err != nil {
		c.Log().Error("cached response not used", "err", err)
		return nil
	}
	rep.Body = &plugins.Content{Bytes: b, Stream: stream, Length: part.N}
	return rep
}

// partial is the header of a response that is not the whole one.
func partial(h *wire.Header, part *cache.Part) wire.Header {
	var out wire.Header
	for name, value := range h.All() {
		if part.Status != 206 && len(name) > 8 && wire.EqualFold(name[:8], "Content-") {
			continue // there is no such content
		}
		out.Add(name, value)
	}
	if part.Range != "" {
		out.Add("Content-Range", part.Range)
	}
	return out
}

// cut makes of the whole response on its way to the zone the part that the
// client asked for.
func (p *caching) cut(c *plugins.Ctx) {
	r := c.Resp
	part := cache.Select(&c.Req.Header, &r.Header, r.ContentLength)
	if part.Status == 200 {
		return
	}
	r.Status = part.Status
	header := partial(&r.Header, &part)
	r.Header = header
	body := r.Body
	if body == nil {
		return
	}
	r.Body, r.ContentLength = cache.Window(body, part.From, part.N), part.N
}
