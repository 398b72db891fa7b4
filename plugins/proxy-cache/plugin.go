// Package proxycache answers requests from responses that were kept, in memory
// or on disk.
package proxycache

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/cache"
)

//go:embed schema.json
var schema string

// Plugin is proxy-cache.
var Plugin = plugins.Spec{
	Name:     "proxy-cache",
	Priority: 1085,
	Version:  "0.2",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	MaxRespBodySize   int64    `json:"max_resp_body_size"`
	CacheZone         string   `json:"cache_zone"`
	CacheStrategy     string   `json:"cache_strategy"`
	CacheKey          []string `json:"cache_key"`
	CacheHTTPStatus   []int    `json:"cache_http_status"`
	CacheMethod       []string `json:"cache_method"`
	HideCacheHeaders  bool     `json:"hide_cache_headers"`
	CacheControl      bool     `json:"cache_control"`
	CacheBypass       []string `json:"cache_bypass"`
	NoCache           []string `json:"no_cache"`
	CacheTTL          int64    `json:"cache_ttl"`
	ConsumerIsolation bool     `json:"consumer_isolation"`
	CacheSetCookie    bool     `json:"cache_set_cookie"`
}

// settings are what the process says of apisix.proxy_cache in config.yaml.
type settings struct {
	ProxyCache *struct {
		TTL   float64 `json:"cache_ttl"`
		Zones []zone  `json:"zones"`
	} `json:"proxy_cache"`
}

// zone is one of apisix.proxy_cache.zones; sizes are in bytes.
type zone struct {
	Name   string `json:"name"`
	Memory int64  `json:"memory_size"`
	Disk   int64  `json:"disk_size"`
	Path   string `json:"disk_path"`
	Levels string `json:"cache_levels"`
}

// caching is an instance. What its requests need between phases is a *request,
// kept on the request under the instance itself.
type caching struct {
	config
	zone           *cache.Zone // nil when config.yaml has no zones: nothing is kept
	now            func() time.Time
	key            key
	bypass, unkept values
	limit          int64         // longest body
	ttl            time.Duration // of responses that do not say
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	var s settings
	if err := plugins.Decode(env.Attr, &s); err != nil {
		return plugins.Phases{}, err
	}
	if slices.Contains(c.CacheKey, "$request_method") {
		return plugins.Phases{}, errors.New("cache_key variable $request_method unsupported")
	}
	p := &caching{config: *c, now: env.Now, key: newKey(c), bypass: newValues(c.CacheBypass), unkept: newValues(c.NoCache),
		limit: c.MaxRespBodySize, ttl: time.Duration(c.CacheTTL) * time.Second}
	phases := plugins.Phases{Access: p.memory, Received: p.received, HeaderFilter: p.headerFilter}
	if p.onDisk() {
		phases.Access, phases.BeforeProxy = p.prepare, p.disk
	}
	if s.ProxyCache == nil {
		return phases, nil
	}
	options, err := find(s.ProxyCache.Zones, c)
	if err != nil || env.Check {
		return phases, err
	}
	if p.onDisk() {
		p.limit, p.ttl = options.Disk, time.Duration(s.ProxyCache.TTL*float64(time.Second))
	}
	options.Now, options.Log = env.Now, env.Log
	p.zone, phases.Close = cache.Share(env.Shared, options)
	return phases, nil
}

func (p *caching) onDisk() bool { return p.CacheStrategy == "disk" }

// find is the zone that c names.
func find(zones []zone, c *config) (cache.Options, error) {
	i := slices.IndexFunc(zones, func(z zone) bool { return z.Name == c.CacheZone })
	if i < 0 {
		return cache.Options{}, fmt.Errorf("cache_zone %s not found", c.CacheZone)
	}
	z := zones[i]
	if (z.Path != "") != (c.CacheStrategy == "disk") {
		return cache.Options{}, fmt.Errorf("invalid or empty cache_zone for cache_strategy: %s", c.CacheStrategy)
	}
	o := cache.Options{Name: z.Name, Memory: z.Memory, Disk: z.Disk, Path: z.Path}
	var err error
	o.Levels, err = cache.ParseLevels(z.Levels)
	if err != nil {
		return o, fmt.Errorf("cache_zone %s: %w", z.Name, err)
	}
	return o, nil
}

// request is what an instance knows of a request that it did not answer.
type request struct {
	key    []byte
	body   string // what the body adds to the key
	ticket cache.Ticket
	status string // Apisix-Cache-Status, "" while it is not settled
	keep   bool   // the response may be kept
	asked  bool   // the zone was asked, or will not be
	bypass bool
	held   []field // of the request, which the upstream must not see
}

// field is a field of the request's header.
type field struct{ name, value string }

const statusField = "Apisix-Cache-Status"

// memory answers from the zone in access, so that what follows does not see the
// request.
func (p *caching) memory(c *plugins.Ctx) (*plugins.Reply, error) {
	switch {
	case c.Req.Method == "PURGE":
		return p.purge(c), nil
	case c.Req.Upgrade != "":
		return nil, nil
	case !slices.Contains(p.CacheMethod, c.Req.Method):
		c.RespHeader.Set(statusField, "MISS")
		return nil, nil
	}
	control := cache.Directives{MaxAge: -1, MinFresh: -1}
	if p.CacheControl {
		control = cache.Control(&c.Req.Header)
	}
	if control.NoStore || control.NoCache || p.bypass.say(c) {
		c.RespHeader.Set(statusField, "BYPASS")
		return nil, nil
	}
	rep, status, err := p.lookUp(c, &control)
	if err != nil {
		return nil, err
	}
	c.RespHeader.Set(statusField, status)
	if rep == nil && control.OnlyIfCached {
		return &plugins.Reply{Status: 504}, nil
	}
	return rep, nil
}

// lookUp is the stored answer to c, if there is one and it is fresh enough, and
// what the client is told about it. Without one, the response may be kept.
func (p *caching) lookUp(c *plugins.Ctx, control *cache.Directives) (*plugins.Reply, string, error) {
	if p.zone == nil {
		return nil, "MISS", nil
	}
	body, ok, err := bodyOf(c)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		return nil, "MISS", nil
	}
	buf := keys.Get().(*[]byte)
	b := p.key.append(c, (*buf)[:0], classOf(c.Req.Method))
	e, ticket := p.zone.Find(b, c.Req, body)
	rep, status := p.judge(c, e, control)
	if rep == nil {
		c.SetValue(p, &request{key: slices.Clone(b), body: body, ticket: ticket, keep: true, asked: true})
	}
	*buf = b[:0]
	keys.Put(buf)
	return rep, status, nil
}

// judge says whether e may answer c.
func (p *caching) judge(c *plugins.Ctx, e *cache.Entry, control *cache.Directives) (*plugins.Reply, string) {
	if e == nil {
		return nil, "MISS"
	}
	now := p.now().UnixNano()
	age := e.Age + time.Duration(now-e.Stored)
	switch {
	case now >= e.Expires:
		return nil, "EXPIRED"
	case control.MaxAge >= 0 && age > time.Duration(control.MaxAge)*time.Second,
		control.MinFresh >= 0 && time.Duration(e.Expires-now) < time.Duration(control.MinFresh)*time.Second:
		return nil, "STALE"
	}
	rep := p.reply(c, e)
	if rep == nil {
		return nil, "MISS"
	}
	c.RespHeader.Set("Age", c.Keep(appendInt(c.Scratch(), max(0, int64(age/time.Second)))))
	return rep, "HIT"
}

// purge removes what is stored under the request's key, whatever the method.
func (p *caching) purge(c *plugins.Ctx) *plugins.Reply {
	found := false
	if p.zone != nil {
		for _, class := range []byte{plain, posted} {
			found = p.zone.Purge(p.key.append(c, nil, class)) || found
		}
	}
	if !found {
		return &plugins.Reply{Status: 404}
	}
	return &plugins.Reply{Status: 200}
}

// headerFilter tells the client how it went.
func (p *caching) headerFilter(c *plugins.Ctx) error {
	if q, ok := c.Value(p).(*request); ok {
		q.restore(c)
		switch {
		case p.onDisk():
			if q.status != "" {
				c.Resp.Header.Set(statusField, q.status)
				c.SetVar("upstream_cache_status", q.status) // as nginx has it, for logs
			}
		case q.keep && c.ReplySource == "apisix":
			p.keep(c, q) // what a plugin answers in an upstream's place
		}
	}
	if p.HideCacheHeaders {
		c.Resp.Header.Del("Cache-Control")
		c.Resp.Header.Del("Expires")
	}
	return nil
}
