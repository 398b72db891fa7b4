package proxycache

import (
	"slices"

	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/plugins/internal/cache"
)

// prepare is access on disk. The zone is asked later, as nginx does: plugins
// that come after this one see every request.
func (p *caching) prepare(c *plugins.Ctx) (*plugins.Reply, error) {
	if c.Req.Method == "PURGE" {
		return p.purge(c), nil
	}
	if c.Req.Upgrade != "" || p.zone == nil {
		return nil, nil
	}
	q := &request{}
	c.SetValue(p, q)
	if !slices.Contains(p.CacheMethod, c.Req.Method) {
		q.status, q.asked = "BYPASS", true
		return nil, nil
	}
	body, ok, err := bodyOf(c)
	if err != nil {
		return nil, err
	}
	if !ok {
		q.status, q.asked = "MISS", true
		return nil, nil
	}
	q.body, q.keep, q.bypass = body, true, p.bypass.say(c)
	q.key = p.key.append(c, nil, classOf(c.Req.Method))
	if c.Req.Method == "HEAD" && c.UpstreamMethod == "" {
		c.UpstreamMethod = "GET" // so that there is something to keep
	}
	return nil, nil
}

// disk asks the zone before the upstream is.
func (p *caching) disk(c *plugins.Ctx) (*plugins.Reply, error) {
	q, ok := c.Value(p).(*request)
	if !ok || q.asked {
		return nil, nil
	}
	q.asked = true
	c.Leave()
	e, ticket := p.zone.Find(q.key, c.Req, q.body)
	q.ticket = ticket
	if q.bypass {
		q.status = "BYPASS"
	} else {
		var rep *plugins.Reply
		if rep, q.status = p.judge(c, e, &cache.Directives{MaxAge: -1, MinFresh: -1}); rep != nil {
			q.keep = false
			return rep, nil
		}
	}
	q.hold(c)
	return nil, nil
}

// conditional are the fields that ask for less than the whole response. What is
// to be kept is asked for as a whole; the client gets the part it wanted.
var conditional = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range", "If-Range"}

func (q *request) hold(c *plugins.Ctx) {
	h := &c.Req.Header
	for i := range h.Len() {
		f := h.At(i)
		if slices.ContainsFunc(conditional, func(name string) bool { return wire.EqualFold(name, f.Name) }) {
			q.held = append(q.held, field{f.Name, f.Value})
		}
	}
	for _, f := range q.held {
		h.Del(f.name)
	}
}

// restore puts back what hold took.
func (q *request) restore(c *plugins.Ctx) {
	for _, f := range q.held {
		c.Req.Header.Add(f.name, f.value)
	}
	q.held = nil
}
