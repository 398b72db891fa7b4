package metrics

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/plugins"
)

// Requests counts the requests of one plugin instance.
type Requests struct {
	set        *Set
	preferName bool
	status     view
	latency    view
	bandwidth  view
	llm        *llm

	requestType, requestModel, model plugins.Getter

	mu     sync.RWMutex
	groups map[string]*group
	// recent are the groups of late, by a rough hash: most requests look like
	// one before them, and comparing is cheaper than making a key. Empty when
	// labels depend on more than the identity.
	recent [32]atomic.Pointer[remembered]
	plain  bool // no extra labels
}

// remembered is an identity, with its own memory, and the group it belongs to.
type remembered struct {
	id identity
	*group
}

// view is a family as an instance sees it: with some labels left empty.
type view struct {
	*family
	hidden []bool // by place in labels
}

// group is the series of the requests that agree in all labels.
type group struct {
	swept                        uint64 // of the set when it was made
	status                       *Series
	request, upstream, ourselves *Series // latencies; upstream only with a node
	in, out                      *Series // bandwidths
}

// maxGroups bounds an instance's memory of look-ups; beyond it starts afresh.
const maxGroups = 4096

// NewRequests makes the counting of an instance. With preferName, names stand
// in the labels in place of ids; disabled are the labels left empty, by metric.
func (s *Set) NewRequests(preferName bool, disabled map[string][]string) *Requests {
	v := func(metric string) view { return s.view(metric, disabled[metric]) }
	r := &Requests{
		set: s, preferName: preferName,
		status: v("http_status"), latency: v("http_latency"), bandwidth: v("bandwidth"),
		llm:         newLLM(v),
		requestType: plugins.Variable("request_type"), requestModel: plugins.Variable("request_llm_model"),
		model:  plugins.Variable("llm_model"),
		groups: map[string]*group{},
	}
	r.plain = len(r.status.extra)+len(r.latency.extra)+len(r.bandwidth.extra) == 0
	return r
}

func (s *Set) view(metric string, disabled []string) view {
	v := view{family: s.families[metric]}
	v.hidden = make([]bool, len(v.labels))
	for _, label := range disabled {
		for i := range v.labels {
			v.hidden[i] = v.hidden[i] || v.labels[i] == label
		}
	}
	return v
}

// identity is what the labels of a request are made of.
type identity struct {
	status                                                                int // 0: no response
	route, uri, host, service, consumer, node, kind, asked, model, source string
}

// code is the status as a label.
func (id *identity) code() string {
	if id.status == 0 {
		return ""
	}
	return strconv.Itoa(id.status)
}

// clone gives the strings memory of their own.
func (id identity) clone() identity {
	for _, s := range [...]*string{&id.route, &id.uri, &id.host, &id.service, &id.consumer,
		&id.node, &id.kind, &id.asked, &id.model, &id.source} {
		*s = strings.Clone(*s)
	}
	return id
}

// slot is the place in a table of n for an identity: what differs between the
// requests of one route decides.
func (id *identity) slot(n int) int {
	h := uint(id.status)
	for _, s := range [...]string{id.consumer, id.node} {
		if k := len(s); k > 0 {
			h = h*31 + uint(k) + uint(s[k-1])<<1 + uint(s[k/2])<<3
		}
	}
	return int(h % uint(n))
}

const maxModel = 128 // bytes of a model's name; clients choose it

func (r *Requests) identify(c *plugins.Ctx) identity {
	id := identity{
		uri: c.Matched.Path, host: c.Matched.Host, source: c.ReplySource, node: node(c),
	}
	if c.Resp != nil {
		id.status = c.Resp.Status
	}
	if c.Route != nil {
		id.route, id.service = string(c.Route.ID), string(c.Route.ServiceID)
		if r.preferName {
			if c.Route.Name != "" {
				id.route = c.Route.Name
			}
			if c.Service != nil && c.Service.Name != "" {
				id.service = c.Service.Name
			}
		}
	}
	if c.Consumer != nil {
		id.consumer = c.Consumer.Def.Username
	}
	id.kind, _ = r.requestType(c)
	id.asked, _ = r.requestModel(c)
	id.model, _ = r.model(c)
	id.asked, id.model = id.asked[:min(len(id.asked), maxModel)], id.model[:min(len(id.model), maxModel)]
	return id
}

// node is the address of the last node tried, without its port.
func node(c *plugins.Ctx) string {
	if len(c.Tries) == 0 {
		return ""
	}
	addr := c.Tries[len(c.Tries)-1].Addr
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		addr = addr[:i]
	}
	return strings.Trim(addr, "[]")
}

// Count counts a request that has ended.
func (r *Requests) Count(c *plugins.Ctx) {
	end := c.End
	if end.IsZero() {
		end = r.set.now()
	}
	took := max(0, end.Sub(c.Start))
	id := r.identify(c)
	g := r.find(c, &id)
	g.status.Add(1)
	g.request.Observe(took.Microseconds())
	if g.upstream != nil {
		var up time.Duration
		for i := range c.Tries {
			up += c.Tries[i].Total
		}
		g.upstream.Observe(up.Microseconds())
		took = max(0, took-up)
	}
	g.ourselves.Observe(took.Microseconds())
	g.in.Add(received(c))
	g.out.Add(c.BytesSent)
	if id.kind == "ai_stream" || id.kind == "ai_chat" {
		r.llm.count(c, &id)
	}
}

func received(c *plugins.Ctx) int64 {
	if c.Req.ContentLength > 0 {
		return c.Req.Size + c.Req.ContentLength
	}
	body, _ := c.BufferedBody()
	return c.Req.Size + int64(len(body))
}

// find returns the group of a request: its key is all that any label depends on.
func (r *Requests) find(c *plugins.Ctx, id *identity) *group {
	if !r.plain {
		return r.look(c, id)
	}
	place := &r.recent[id.slot(len(r.recent))]
	if m := place.Load(); m != nil && m.id == *id && m.swept == r.set.swept.Load() {
		return m.group
	}
	g := r.look(c, id)
	place.Store(&remembered{id.clone(), g})
	return g
}

// look is find by the key in full.
func (r *Requests) look(c *plugins.Ctx, id *identity) *group {
	b := c.Scratch()
	for _, v := range [...]string{id.code(), id.route, id.uri, id.host, id.service, id.consumer,
		id.node, id.kind, id.asked, id.model, id.source} {
		b = append(append(b, v...), sep)
	}
	for _, f := range [...]*family{r.status.family, r.latency.family, r.bandwidth.family} {
		b = f.appendExtra(c, b)
	}
	key := c.Keep(b)
	r.mu.RLock()
	g := r.groups[key]
	r.mu.RUnlock()
	if g != nil && g.swept == r.set.swept.Load() {
		return g
	}
	g = r.newGroup(c, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.groups) >= maxGroups {
		clear(r.groups)
	}
	r.groups[strings.Clone(key)] = g
	return g
}

func (r *Requests) newGroup(c *plugins.Ctx, id *identity) *group {
	g := &group{swept: r.set.swept.Load()}
	g.status = r.status.series(c, id.code(), id.route, id.uri, id.host, id.service, id.consumer, id.node,
		id.kind, id.asked, id.model, id.source)
	typed := func(v view, kind string) *Series {
		return v.series(c, kind, id.route, id.service, id.consumer, id.node, id.kind, id.asked, id.model)
	}
	g.request, g.ourselves = typed(r.latency, "request"), typed(r.latency, "apisix")
	if id.node != "" {
		g.upstream = typed(r.latency, "upstream")
	}
	g.in, g.out = typed(r.bandwidth, "ingress"), typed(r.bandwidth, "egress")
	return g
}

// series returns the series of these values, in the order of the labels; the
// extra labels are looked up.
func (v view) series(c *plugins.Ctx, values ...string) *Series {
	var b []byte
	for i, value := range values {
		if !v.hidden[i] {
			b = append(b, value...)
		}
		b = append(b, sep)
	}
	return v.get(v.appendExtra(c, b))
}

func (f *family) appendExtra(c *plugins.Ctx, b []byte) []byte {
	for _, get := range f.extra {
		b, _ = get(c, b)
		b = append(b, sep)
	}
	return b
}
