package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"sluice/configcenter/resource"
	"sluice/gateway/tally"
	"sluice/gateway/wire"
)

// Ctx is one request on its walk. It belongs to the request's goroutine, is
// reused for the connection's next request, and must not be kept after Log;
// nor may strings taken from it (strings.Clone what must live longer).
//
// As a context.Context it ends when the client is gone or the server gives up
// on the request. Whoever derives contexts, or goes on beside the request, is
// given the field Context instead: that one stays as it is when the Ctx goes to
// the next request.
type Ctx struct {
	context.Context

	Req        *wire.Request
	Resp       *wire.Response // nil before HeaderFilter
	RespHeader wire.Header    // set on the response in HeaderFilter's place, whoever makes it

	Start time.Time
	// End is when the answer was sent or given up; zero before the log phase.
	End time.Time

	// Path is the canonical path ($uri): percent-decoded, dot segments and
	// repeated slashes resolved. The router, plugins and variables all see this
	// one. It is not what goes upstream: see UpstreamURI.
	Path      string
	Rewritten string // ngx.var.uri where a plugin has set nginx's path; else empty
	// Query is the raw query string without "?" ($args).
	Query string

	Addr netip.Addr // client address, after real-ip
	Port uint16     // client port, after real-ip

	Route    *resource.Route   // nil when none matched
	Service  *resource.Service // nil when the route has none
	Consumer *Consumer         // nil until an auth plugin sets it
	Matched  Matched           // what the router matched
	Params   []Param           // captures of the route's path (uri_param_*)

	// What goes upstream. Empty values mean: as the client sent it.
	UpstreamURI    string // path and query, percent-encoded
	UpstreamHost   string // Host, when a plugin rewrites it
	UpstreamMethod string // when it is not what the client used and plugins see
	UpstreamScheme string // http, https, grpc, grpcs; from the upstream, plugins may change it
	upstream       Upstream

	// ReplySource tells who made the answer: "apisix" (a plugin or the gateway
	// itself), "nginx" (protocol errors) or "upstream". Label of http_status.
	ReplySource string

	// Tries are the upstream attempts of this request, in order.
	Tries []Try

	BytesSent int64 // of the response, header included; set for Log
	BodySent  int64 // of the response body; set for Log

	RateLimit RateLimit // the last limit that counted this request ($rate_limiting_info)

	RequestID string // set on first use by ID or by request-id

	routeChain *Chain    // the route's chain while the global rules run, else nil
	running    *Instance // whose code is on the stack
	skipped    []string  // plugins that Skip named

	timeline tally.Timeline
	dropped  []*Instance // that failed, and are left out
	changed  []*Instance // that may fail, and have changed some of the body
	header   keptHeader

	originals []Param
	exits     []func(*Ctx, *Reply) *Reply
	printed   *printed // nil: nothing was printed

	finder   Finder
	metadata func(plugin string) json.RawMessage
	vars     map[string]string // set by plugins; wins over everything
	values   map[any]any
	log      *slog.Logger
	baseLog  *slog.Logger
	body     []byte
	bodyRead bool
	bodyErr  error
	limits   *Limits
	leave    func() // see Leave
	memo     memo   // of variables
	scratch  []byte // of Scratch
}

// Matched is what the router matched, as patterns.
type Matched struct {
	Path string // the configured pattern
	Host string // the configured host pattern, or ""
}

// RateLimit is where a request stands with a limit.
type RateLimit struct {
	Key       []byte // nil: no limit counted it. Valid as long as the request
	Limit     int64
	Remaining int64
	Reset     int64 // seconds until the limit is fresh again
}

// Param is one capture of a route's path.
type Param struct{ Name, Value string }

// Try is one attempt at an upstream node.
type Try struct {
	Addr    string // ip:port
	Host    string // node host as configured
	Status  int    // 0 while unknown; 502, 504 for failures
	Connect time.Duration
	Header  time.Duration // until the response header
	Total   time.Duration // until the end of the body
}

// Consumer is a consumer as found by an auth plugin.
type Consumer struct {
	Def          *resource.Consumer
	CredentialID string // "" when the consumer's own plugin part matched
	Conf         any    // what Spec.NewConsumer made of the matching part
	// Extra is what the consumer and its group bring to a route's chain; nil: nothing.
	Extra *Extra
}

// Extra holds the plugin instances of a consumer merged with its group's. Its
// address is the key under which routes keep the merged chains.
type Extra struct {
	Instances []*Instance
	// MissingGroup says that the consumer's group does not exist: its requests
	// are answered 503.
	MissingGroup bool
}

// Finder looks consumers up in the version that serves a request.
type Finder interface {
	// FindConsumer returns the consumer whose part for plugin has value in its
	// ConsumerKey member, or nil.
	FindConsumer(plugin, value string) *Consumer
	// ConsumerNamed returns the consumer of that username, or nil.
	ConsumerNamed(name string) *Consumer
	// ConsumersOf returns all consumers with a part for plugin.
	ConsumersOf(plugin string) []*Consumer
}

// Reset readies the Ctx for a new request.
func (c *Ctx) Reset(ctx context.Context, req *wire.Request, f Finder, log *slog.Logger) {
	h, tries, params, originals, skipped := c.RespHeader, c.Tries[:0], c.Params[:0], c.originals[:0], c.skipped[:0]
	clear(c.exits)
	clear(c.dropped)
	clear(c.changed)
	h.Reset()
	clear(c.vars)
	clear(c.values)
	c.timeline.End()
	*c = Ctx{Context: ctx, Req: req, RespHeader: h, Tries: tries, Params: params, originals: originals, skipped: skipped,
		exits: c.exits[:0], finder: f, baseLog: log, vars: c.vars, values: c.values,
		limits: c.limits, leave: c.leave, memo: c.memo.next(), scratch: c.emptyScratch(),
		timeline: c.timeline, dropped: c.dropped[:0], changed: c.changed[:0], header: c.header}
}

// SetLeave sets what Leave does. It outlives Reset.
func (c *Ctx) SetLeave(f func()) { c.leave = f }

// Leave is for a plugin to call on the request's goroutine before it waits for
// anything - an answer, a timer, a disk - or computes for longer than a
// millisecond. Requests of other clients may have been served by the same
// thread; they go on elsewhere then. A plugin that forgets it holds them up for
// some milliseconds, until that is noticed.
func (c *Ctx) Leave() {
	if c.leave != nil {
		c.leave()
	}
}

// InGlobalRules tells the Ctx that the global rules' chain runs now, and which
// chain the route has: plugins that leave requests to the route when it has
// them too (Spec.PreferRoute) are skipped. nil ends it.
func (c *Ctx) InGlobalRules(route *Chain) { c.routeChain = route }

func (c *Ctx) skips(in *Instance) bool {
	return c.routeChain != nil && in.Spec.PreferRoute && c.routeChain.names[in.Spec.Name] ||
		len(c.skipped) != 0 && slices.Contains(c.skipped, in.Spec.Name) ||
		len(c.dropped) != 0 && slices.Contains(c.dropped, in)
}

// Skip leaves the plugin called name out for the rest of the request, wherever
// it is configured: another one has done its work (workflow).
func (c *Ctx) Skip(name string) { c.skipped = append(c.skipped, name) }

// Running is the name of the plugin whose code is on the stack, or "".
func (c *Ctx) Running() string {
	if c.running == nil {
		return ""
	}
	return c.running.Spec.Name
}

// Find returns the consumers of the version serving this request.
func (c *Ctx) Find() Finder { return c.finder }

// Metadata is a plugin's metadata in the version serving this request, defaults
// filled in; nil if none. Instances have it in Env: this is for plugin APIs,
// which are the same for all versions.
func (c *Ctx) Metadata(plugin string) json.RawMessage {
	if c.metadata == nil {
		return nil
	}
	return c.metadata(plugin)
}

// SetMetadata says where Metadata looks.
func (c *Ctx) SetMetadata(f func(plugin string) json.RawMessage) { c.metadata = f }

// Upstream is what the balancer will use; nil until one is chosen.
func (c *Ctx) Upstream() Upstream { return c.upstream }

// SetUpstream replaces the upstream (traffic-split); u comes from Env.Upstream.
func (c *Ctx) SetUpstream(u Upstream) { c.upstream = u }

// Sleep waits; it fails when the client is gone, or the server gives up on the
// request, meanwhile.
func (c *Ctx) Sleep(d time.Duration) error {
	c.Leave()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.Done():
		return c.Err()
	}
}

// Log is a logger that carries the request's id and route. Made on first use.
func (c *Ctx) Log() *slog.Logger {
	if c.log == nil {
		c.log = c.baseLog
		if c.log == nil {
			c.log = slog.New(slog.DiscardHandler)
		}
		if c.Route != nil {
			c.log = c.log.With("route_id", string(c.Route.ID))
		}
		if c.RequestID != "" {
			c.log = c.log.With("request_id", c.RequestID)
		}
	}
	if c.running != nil && c.running.Secrets != nil {
		return c.running.Secrets.Logger(c.log)
	}
	return c.log
}

// OnExit lets f change the reply of whoever ends this request after now, be it a
// plugin or the gateway; answers of the upstream do not come by.
func (c *Ctx) OnExit(f func(*Ctx, *Reply) *Reply) { c.exits = append(c.exits, f) }

// Exits is rep as those called by OnExit want it.
func (c *Ctx) Exits(rep *Reply) *Reply {
	if _, ok := rep.Body.(*Content); ok {
		return rep
	}
	for _, f := range c.exits {
		rep = f(c, rep)
	}
	return rep
}

// FinalStatus is the status that rep is sent with: 200 when it has none, and 500
// for one that is not final or no status at all: the client would wait for another.
func (c *Ctx) FinalStatus(rep *Reply) int {
	switch s := rep.Status; {
	case s == 0:
		return 200
	case s < 200 || s > 999:
		c.Log().Error("a reply must have a final status, answered 500 instead", "status", s)
		return 500
	}
	return rep.Status
}

// SetVar gives a variable a value for the rest of this request; it wins over
// every built-in of that name.
func (c *Ctx) SetVar(name, value string) {
	if c.vars == nil {
		c.vars = map[string]string{}
	}
	c.vars[name] = value
}

// HasVars reports whether SetVar was called for this request.
func (c *Ctx) HasVars() bool { return len(c.vars) != 0 }

// SetOriginal keeps a client-sent forwarding field that the gateway replaced,
// as the variable name (original_x_forwarded_for …).
func (c *Ctx) SetOriginal(name, value string) {
	c.originals = append(c.originals, Param{name, value})
}

// bindOriginal reads what SetOriginal kept.
func bindOriginal(name string) Getter {
	return func(c *Ctx) (string, bool) {
		for _, p := range c.originals {
			if p.Name == name {
				return p.Value, true
			}
		}
		return "", false
	}
}

// Value returns what a plugin kept on this request under key, like
// context.Value; instances use a pointer of their own as key.
func (c *Ctx) Value(key any) any {
	if v, ok := c.values[key]; ok {
		return v
	}
	if c.Context == nil {
		return nil
	}
	return c.Context.Value(key)
}

// Field is a key for values that functions in Lua see, too, as ctx.<name>: what
// is kept under it must be such that encoding/json can write it.
type Field string

// SetValue keeps v on this request for later phases of the same plugin.
func (c *Ctx) SetValue(key, v any) {
	if c.values == nil {
		c.values = map[any]any{}
	}
	c.values[key] = v
}

// Body reads the whole request body, at most limit bytes (0: no limit), and
// keeps it, so that it is still sent upstream. A longer body yields a
// *BodyTooLargeError and stays as it is: it can still be read, or sent.
func (c *Ctx) Body(limit int64) ([]byte, error) {
	if !c.bodyRead {
		b, err := readBody(c.Req, limit)
		if tooLarge := (*BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
			return nil, err
		}
		c.body, c.bodyRead, c.bodyErr = b, true, err
	}
	if c.bodyErr == nil && limit > 0 && int64(len(c.body)) > limit {
		return nil, &BodyTooLargeError{Size: int64(len(c.body)), Limit: limit}
	}
	return c.body, c.bodyErr
}

// SetBody replaces the request body that goes upstream.
func (c *Ctx) SetBody(b []byte) {
	c.body, c.bodyRead, c.bodyErr = b, true, nil
	c.Req.ContentLength = int64(len(b))
	c.memo.body, c.memo.graphql = nil, nil
}

// BufferedBody returns the body if Body or SetBody put it in memory.
func (c *Ctx) BufferedBody() ([]byte, bool) { return c.body, c.bodyRead && c.bodyErr == nil }

func readBody(r *wire.Request, limit int64) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if limit > 0 && r.ContentLength > limit {
		return nil, &BodyTooLargeError{Size: r.ContentLength, Limit: limit}
	}
	src := io.Reader(r.Body)
	if limit > 0 {
		src = io.LimitReader(src, limit+1)
	}
	b, err := io.ReadAll(src)
	if err != nil {
		return nil, err
	}
	if limit > 0 && int64(len(b)) > limit {
		r.Body = wire.Rejoin(b, r.Body)
		return nil, &BodyTooLargeError{Size: int64(len(b)), Limit: limit}
	}
	return b, nil
}
