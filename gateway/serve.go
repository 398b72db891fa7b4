package gateway

import (
	"bytes"
	"errors"
	"runtime/debug"

	"sluice/balancer"
	"sluice/gateway/uri"
	"sluice/gateway/wire"
	"sluice/plugins"
	"sluice/router"
)

// walk is a request on its way, with what only the gateway sees. One belongs to
// each client connection and is reused for its requests.
type walk struct {
	plugins.Ctx
	g     *Gateway
	x     *wire.Exchange
	table *table         // one version for the whole walk
	route *route         // notFound when none matched
	chain *plugins.Chain // the route's, or the one merged with the consumer's
	in    router.Input

	up      *upstream // chosen for this request
	out     wire.Outgoing
	course  course
	tried   []*balancer.Endpoint
	pending bool               // Resume follows
	open    *balancer.Endpoint // whose answer is on its way
	replay  bytes.Reader       // body of the request, when it is in memory
	sent    wire.Sent
	body    replyBody
	told    bool // the client is to see how long plugins take

	filter wire.BodyFilter // w.filterBody, bound once
}

// notFound stands in for the route of a request that matched none.
var notFound = &route{chain: plugins.Empty, slot: -1, fail: &plugins.Reply{
	Status: 404, Body: plugins.ErrorMsg{ErrorMsg: "404 Route Not Found"}}}

// Serve is the request's walk, up to where it waits for an upstream, if it does.
// It implements wire.Resumer.
func (g *Gateway) Serve(x *wire.Exchange) {
	w := g.begin(x)
	defer w.end()
	w.deliver(w.answer())
}

// Resume is the rest of the walk.
func (g *Gateway) Resume(x *wire.Exchange) {
	w := x.Slot.(*walk)
	w.pending = false
	defer w.end()
	w.deliver(w.resume())
}

// deliver sends what answer found.
func (w *walk) deliver(rep *plugins.Reply, err error) {
	if err == wire.ErrPending {
		w.pending = true
		return
	}
	if rep == nil && err == nil {
		if err = w.received(); err != nil {
			w.discard()
		}
	}
	switch {
	case err != nil:
		w.reply(w.fault(err))
	case rep != nil:
		if w.ReplySource != "nginx" {
			rep = w.Exits(rep)
		}
		w.reply(w.Printed(rep))
	}
	if w.x.Resp.Status == hangUp && w.ReplySource != "upstream" {
		w.Resp = &w.x.Resp // for the log; what is not answered is closed
		return
	}
	w.respond()
}

// hangUp is nginx's status for closing the connection without an answer.
const hangUp = 444

// begin readies the connection's walk for a new request.
func (g *Gateway) begin(x *wire.Exchange) *walk {
	w, _ := x.Slot.(*walk)
	if w == nil {
		w = &walk{g: g}
		w.filter = w.filterBody
		if l := g.o.Variables; l != nil {
			w.SetLimits(l)
		}
		w.SetLeave(func() { w.x.Leave() })
		x.Slot = w
	}
	t := g.live.Load()
	w.x, w.table, w.route, w.chain, w.up = x, t, notFound, plugins.Empty, nil
	w.tried, w.sent, w.told = w.tried[:0], wire.Sent{}, false
	w.Ctx.Reset(x.Context, &x.Req, t.consumers, g.o.Log)
	w.Timeline().Begin(g.o.Timeline.Log)
	w.SetMetadata(t.metadata)
	w.Start = x.Began()
	g.requests.AddAt(x.Lane(), 1)
	return w
}

// answer finds the response: a plugin's reply, ours, or (nil, nil) when the
// upstream's is in w.x.Resp; wire.ErrPending when it is not there yet.
func (w *walk) answer() (*plugins.Reply, error) {
	if rep := w.admit(); rep != nil {
		return rep, nil
	}
	w.match()
	for _, phase := range [...]func(*walk) (*plugins.Reply, error){
		(*walk).rewrite, (*walk).consumer, (*walk).access,
	} {
		if rep, err := phase(w); rep != nil || err != nil {
			return rep, err
		}
	}
	if rep := w.Printed(nil); rep != nil {
		return rep, nil
	}
	return w.forward()
}

// admit makes the canonical path, settles who the client is, and refuses what
// must not be served.
func (w *walk) admit() *plugins.Reply {
	r := w.Req
	if !w.canonical() {
		return w.refuse(400)
	}
	w.Addr, w.Port = r.Remote.Addr().Unmap(), r.Remote.Port()
	w.g.o.RealIP.Apply(&w.Ctx)
	w.told = w.g.o.Timeline.Ask(&w.Ctx)
	w.forwarded()
	if r.TLS != nil {
		if status := w.table.certs.VerifyRequest(r.TLS, r.Host, w.Path); status != 0 {
			return w.refuse(status)
		}
	}
	if max := w.g.o.MaxBody; max > 0 && !r.LimitBody(max) {
		return w.refuse(413)
	}
	return nil
}

// refuse answers in the engine's place rather than a plugin's.
func (w *walk) refuse(status int) *plugins.Reply {
	w.ReplySource = "nginx"
	return &plugins.Reply{Status: status}
}

// canonical makes the one path that router, plugins and variables see, and
// false for a target that has none.
func (w *walk) canonical() bool {
	var err error
	if w.Path, w.Query, err = uri.Canonical(w.Req.Target); err != nil {
		w.Path = "/"
		return false
	}
	o := &w.g.o.Path
	if o.TrimSlash {
		w.Path = uri.TrimSlash(w.Path)
	}
	if o.Servlet {
		plain, err := uri.Servlet(w.Path)
		if err != nil {
			return false
		}
		if plain != w.Path {
			w.UpstreamURI = uri.EncodeControls(w.Path)
			if w.Query != "" {
				w.UpstreamURI += "?" + w.Query
			}
			w.Path = plain
		}
	}
	return true
}

// PathOptions are the ways in which paths are prepared for matching.
type PathOptions struct {
	TrimSlash   bool // delete_uri_tail_slash
	Servlet     bool // normalize_uri_like_servlet
	KeepSlashes bool // match_uri_encoded_slash
}

// match asks the router. A request that matches nothing keeps notFound, whose
// reply comes after the global rules had their say.
func (w *walk) match() {
	in := &w.in
	*in = router.Input{Params: in.Params[:0], Ctx: &w.Ctx}
	in.HostPort = w.Req.Host
	in.Host = w.lowerHost(w.Req.Host)
	in.Path, in.Method, in.Addr = w.Path, w.Req.Method, w.Addr
	if w.g.o.Path.KeepSlashes {
		if kept, ok := uri.KeepSlashes(w.Req.Target, w.Path); ok {
			in.Path = kept
		}
	}
	r, ok := w.table.router.Match(in)
	if !ok {
		return
	}
	w.route, w.chain = r, r.chain
	w.Route, w.Service = r.def, r.service
	w.Matched = plugins.Matched{Path: in.MatchedPath, Host: in.MatchedHost}
	for _, p := range in.Params {
		w.Params = append(w.Params, plugins.Param{Name: p.Name, Value: p.Value})
	}
}

func (w *walk) rewrite() (*plugins.Reply, error) {
	if w.route.fail != nil && w.route != notFound {
		return w.route.fail, nil
	}
	w.InGlobalRules(w.chain)
	rep, err := w.table.global.Rewrite(&w.Ctx)
	w.InGlobalRules(nil)
	if rep != nil || err != nil {
		return rep, err
	}
	return w.chain.Rewrite(&w.Ctx)
}

// consumer merges what the consumer brings into the chain, once an auth plugin
// has found one.
func (w *walk) consumer() (*plugins.Reply, error) {
	if w.Consumer == nil || w.Consumer.Extra == nil {
		return nil, nil
	}
	if w.Consumer.Extra.MissingGroup {
		return &plugins.Reply{Status: 503, Body: ""}, nil
	}
	w.chain = w.route.chainFor(w.Consumer.Extra)
	return w.chain.RewriteInConsumer(&w.Ctx)
}

func (w *walk) access() (*plugins.Reply, error) {
	w.InGlobalRules(w.chain)
	rep, err := w.table.global.Access(&w.Ctx)
	w.InGlobalRules(nil)
	if rep != nil || err != nil {
		return rep, err
	}
	if w.route == notFound {
		return notFound.fail, nil
	}
	return w.chain.Access(&w.Ctx)
}

// received shows the plugins what an upstream answered.
func (w *walk) received() error {
	w.Resp = &w.x.Resp
	w.InGlobalRules(w.chain)
	err := w.table.global.Received(&w.Ctx)
	w.InGlobalRules(nil)
	if err == nil {
		err = w.chain.Received(&w.Ctx)
	}
	return err
}

// respond sends what is in w.x.Resp: every response, whoever made it, takes
// this way out.
func (w *walk) respond() {
	w.Resp = &w.x.Resp
	w.decorate()
	if err := w.headerFilters(); err != nil {
		w.discard()
		w.reply(w.fault(err))
		w.Resp = &w.x.Resp
		w.decorate()
	}
	if w.told {
		w.g.o.Timeline.Tell(&w.Ctx)
	}
	var filter wire.BodyFilter
	if w.chain.FiltersBody() || w.table.global.FiltersBody() {
		filter = w.filter
	}
	if w.Resp.Status == 101 {
		w.tunnel()
		return
	}
	sent, err := w.x.Send(w.Resp, filter)
	w.sent = sent
	if err != nil {
		w.sendFailed(err)
	}
}

// sendFailed takes note of an answer that could not be delivered whole. When a
// body filter failed before anything had gone out, there is another one.
func (w *walk) sendFailed(err error) {
	var e *wire.Error
	if errors.As(err, &e) && e.Side == wire.Client {
		return // the client is gone: its business
	}
	w.logFailure("response cut short", err)
	if f := (*plugins.Failure)(nil); w.sent.Total > 0 || !errors.As(err, &f) {
		return
	}
	w.discard()
	w.reply(&plugins.Reply{Status: 500})
	w.Resp = &w.x.Resp
	w.decorate()
	if sent, err := w.x.Send(w.Resp, nil); err == nil {
		w.sent = sent
	}
}

func (w *walk) headerFilters() error {
	for _, filter := range [...]func(*plugins.Chain, *plugins.Ctx) error{
		(*plugins.Chain).HeaderFilter, (*plugins.Chain).DelayedHeader,
	} {
		w.InGlobalRules(w.chain)
		err := filter(w.table.global, &w.Ctx)
		w.InGlobalRules(nil)
		if err != nil {
			return err
		}
		if err := filter(w.chain, &w.Ctx); err != nil {
			return err
		}
	}
	return nil
}

// filterBody passes a piece of the body through the global rules' filters, the
// route's, and then everybody's delayed ones.
func (w *walk) filterBody(piece []byte, last bool) (out []byte, err error) {
	c, global := &w.Ctx, w.table.global
	for _, f := range [...]plugins.BodyFunc{global.BodyFilter, w.chain.BodyFilter, global.DelayedBody, w.chain.DelayedBody} {
		if piece, err = f(c, piece, last); err != nil {
			return nil, err
		}
	}
	return piece, nil
}

// end runs the log phase whatever happened before. A panic costs this request
// only: it is logged with its stack and answered 500 when nothing was sent yet.
// Those of plugins have become errors before.
func (w *walk) end() {
	if p := recover(); p != nil {
		w.panicked(p)
	} else if w.pending {
		return
	}
	w.End = w.x.Ended()
	w.settle()
	w.BytesSent, w.BodySent = w.sent.Total, w.sent.Body
	w.runLog()
	w.g.o.AccessLog.Write(&w.Ctx, w.x.Lane())
	w.Timeline().End()
}

func (w *walk) runLog() {
	w.InGlobalRules(w.chain)
	w.table.global.Log(&w.Ctx)
	w.InGlobalRules(nil)
	w.chain.Log(&w.Ctx)
}

func (w *walk) panicked(p any) {
	w.g.o.Log.Error("panic, request answered 500", "panic", p, "stack", string(debug.Stack()))
	if w.sent.Total > 0 {
		return
	}
	w.discard()
	w.reply(&plugins.Reply{Status: 500})
	w.Resp = &w.x.Resp
	w.decorate()
	w.sent, _ = w.x.Send(w.Resp, nil)
}

// lowerHost is the host without port, in lower case.
func (w *walk) lowerHost(host string) string {
	host = uri.Host(host)
	for i := range len(host) {
		if c := host[i]; 'A' <= c && c <= 'Z' {
			return w.lower(host)
		}
	}
	return host
}
