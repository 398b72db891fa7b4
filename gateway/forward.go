package gateway

import (
	"errors"
	"io"
	"strconv"
	"time"

	"sluice/balancer"
	"sluice/configcenter/resource"
	"sluice/gateway/uri"
	"sluice/gateway/wire"
	"sluice/plugins"
)

// forward tries the upstream's nodes until one answers. (nil, nil) means that
// the response is in w.x.Resp.
func (w *walk) forward() (*plugins.Reply, error) {
	if rep := w.choose(); rep != nil {
		return rep, nil
	}
	if err := w.up.set.Ready(&w.Ctx); err != nil {
		w.Log().Error("no upstream node", "upstream", w.up.key, "err", err)
		return &plugins.Reply{Status: 503}, nil
	}
	tries, nodes := w.up.tries()
	if err := w.outgoing(tries > 1); err != nil {
		return nil, err
	}
	if w.UpstreamScheme != w.up.scheme && w.up.set.Portless() && uri.DefaultPort(w.UpstreamScheme) != uri.DefaultPort(w.up.scheme) {
		w.Log().Error("a node without port cannot be used with another scheme", "upstream", w.up.key, "scheme", w.UpstreamScheme)
		return &plugins.Reply{Status: 503}, nil
	}
	w.course = course{tries: tries, nodes: nodes, key: w.up.hashKey(w), deadline: w.up.deadline(w.Start)}
	return w.attempts()
}

// course is how far the search for a node that answers has come.
type course struct {
	n, tries int
	nodes    int // of the upstream
	key      uint64
	deadline time.Time
	failed   error // the last try
}

// attempts makes the tries that are left.
func (w *walk) attempts() (*plugins.Reply, error) {
	for c := &w.course; c.n < c.tries; c.n++ {
		if c.n > 0 && !c.deadline.IsZero() && w.g.o.Now().After(c.deadline) {
			break
		}
		ep := w.up.set.Pick(c.key, w.tried)
		if ep == nil && c.nodes == 1 && c.n > 0 {
			ep = w.tried[0] // the only node is tried again
		}
		if ep == nil {
			break
		}
		w.tried = append(w.tried, ep)
		rep, err := w.beforeProxy(ep)
		if rep != nil || err != nil {
			w.Tries = w.Tries[:len(w.Tries)-1] // never made
			return rep, err
		}
		if err := w.try(ep); err == nil || err == wire.ErrPending {
			return nil, err
		}
		if !w.another() {
			break
		}
	}
	return w.failure()
}

// resume goes on when the answer to the last try is there.
func (w *walk) resume() (*plugins.Reply, error) {
	timing, err := w.x.Answer()
	switch err = w.tell(timing, err); {
	case err == nil || err == wire.ErrPending:
		return nil, err
	case !w.another():
		return w.failure()
	}
	w.course.n++
	return w.attempts()
}

// another tells the node of the last try that it failed, and reports whether
// there may be another one.
func (w *walk) another() bool {
	c := &w.course
	w.out.Soon = false
	last := c.n+1 == c.tries || !w.again(c.failed)
	t := &w.Tries[len(w.Tries)-1]
	w.tried[len(w.tried)-1].Done(balancer.Outcome{Fault: fault(c.failed), Final: last, Status: t.Status, Latency: t.Header})
	return !last
}

// failure is the end of a search in vain.
func (w *walk) failure() (*plugins.Reply, error) {
	if w.course.failed == nil {
		return &plugins.Reply{Status: 502}, nil
	}
	return nil, w.course.failed
}

// choose settles the upstream: a plugin's choice, or the route's.
func (w *walk) choose() *plugins.Reply {
	switch u := w.Upstream().(type) {
	case *upstream:
		w.up = u
	case *upstreamSlot:
		if w.up = w.table.upstreamAt(u.slot); w.up == nil {
			return &plugins.Reply{Status: 500, Body: "failed to fetch upstream info by upstream id: " + u.id}
		}
	default:
		w.up = w.table.upstreamOf(w.route)
		if w.up == nil && w.route.slot < 0 && !w.route.badUpstream {
			w.Log().Error("missing upstream configuration in Route or Service")
			return &plugins.Reply{Status: 503}
		}
	}
	if w.up == nil {
		return &plugins.Reply{Status: 502}
	}
	w.SetUpstream(w.up)
	return nil
}

// outgoing lays out what goes upstream. spool says that another try may follow,
// for which the body must be at hand.
func (w *walk) outgoing(spool bool) error {
	r, o := w.Req, &w.out
	if w.UpstreamScheme == "" {
		w.UpstreamScheme = w.up.scheme
	}
	w.clientChain()
	*o = wire.Outgoing{Method: r.Method, URI: r.Target, Host: r.Host, Header: &r.Header,
		Soon:    w.chain == plugins.Empty && w.table.global == plugins.Empty && !spool,
		Connect: w.up.connect, Send: w.up.send, Read: w.up.read}
	if t := w.route.timeout; t != nil {
		o.Connect, o.Send, o.Read = seconds(t.Connect), seconds(t.Send), seconds(t.Read)
	}
	if w.UpstreamURI != "" {
		o.URI = w.UpstreamURI
	}
	if w.UpstreamHost != "" {
		o.Host = w.UpstreamHost
	}
	if w.UpstreamMethod != "" {
		o.Method = w.UpstreamMethod
	}
	if w.route.websocket {
		o.Upgrade = r.Upgrade
	}
	if spool && r.ContentLength > 0 && r.ContentLength <= w.g.o.SpoolBytes {
		if _, err := w.Body(0); err != nil {
			return err
		}
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// body sets the body of the next try.
func (w *walk) sendBody() {
	o, r := &w.out, w.Req
	if b, ok := w.BufferedBody(); ok {
		w.replay.Reset(b)
		o.Body, o.ContentLength = &w.replay, int64(len(b))
		if len(b) == 0 {
			o.Body = nil
		}
		return
	}
	o.ContentLength = r.ContentLength
	if r.ContentLength != 0 {
		o.Body, o.Trailer = r.Body, &r.Trailer
	}
}

// beforeProxy runs the plugins that act before each try, after the Host for
// this node is settled.
func (w *walk) beforeProxy(ep *balancer.Endpoint) (*plugins.Reply, error) {
	if w.UpstreamHost == "" {
		switch w.up.passHost {
		case passNode:
			w.out.Host = w.nodeHost(ep)
		case passRewrite:
			w.out.Host = w.up.def.UpstreamHost
		}
	}
	w.Tries = append(w.Tries, plugins.Try{Addr: ep.Addr, Host: ep.Host})
	w.InGlobalRules(w.chain)
	rep, err := w.table.global.BeforeProxy(&w.Ctx)
	w.InGlobalRules(nil)
	if rep != nil || err != nil {
		return rep, err
	}
	rep, err = w.chain.BeforeProxy(&w.Ctx)
	if rep == nil && err == nil {
		rep = w.Printed(nil)
	}
	return rep, err
}

// try makes one attempt at a node. After a failure the caller tells the node.
func (w *walk) try(ep *balancer.Endpoint) error {
	if w.UpstreamHost != "" {
		w.out.Host = w.UpstreamHost
	}
	w.sendBody()
	ep.Begin()
	return w.tell(w.up.peer(w, ep).Do(w.x, &w.out, &w.x.Resp))
}

// tell notes what came of a try.
func (w *walk) tell(timing wire.Timing, err error) error {
	if err == wire.ErrPending {
		return err
	}
	t := &w.Tries[len(w.Tries)-1]
	t.Connect, t.Header = timing.Connect, timing.Header
	if err == nil {
		t.Status = w.x.Resp.Status
		w.open = w.tried[len(w.tried)-1]
		w.ReplySource = "upstream"
		return nil
	}
	t.Status, t.Total = 502, timing.Header
	var e *wire.Error
	if errors.As(err, &e) {
		t.Status = e.Status()
	}
	w.course.failed = err
	return err
}

// fault is what a failed try says of its node.
func fault(err error) balancer.Fault {
	var e *wire.Error
	if errors.As(err, &e) && e.Kind == wire.Timeout {
		return balancer.Timeout
	}
	return balancer.Broken
}

// again decides whether a failed try may be followed by another one: nothing of
// an answer was read, the client is still there, and the request can be sent
// once more without doing its work twice.
func (w *walk) again(err error) bool {
	var e *wire.Error
	if !errors.As(err, &e) || e.Side != wire.Upstream || e.Kind == wire.Aborted || e.Kind == wire.Malformed {
		return false
	}
	if e.Retry == wire.Yes {
		return true // nothing was sent
	}
	_, buffered := w.BufferedBody()
	if w.Req.ContentLength != 0 && !buffered {
		return false
	}
	switch w.out.Method {
	case "POST", "LOCK", "PATCH":
		return false
	}
	return true
}

// settle ends the successful try: its node learns how it went, and the
// connection is given back if nobody read the body.
func (w *walk) settle() {
	w.discard()
	if w.open == nil {
		return
	}
	t := &w.Tries[len(w.Tries)-1]
	t.Total = w.End.Sub(w.Start)
	w.open.Done(balancer.Outcome{Final: true, Status: t.Status, Latency: t.Header})
	w.open = nil
}

// tunnel joins the client and the upstream after both agreed to upgrade.
func (w *walk) tunnel() {
	up, ok := w.Resp.Body.(io.ReadWriteCloser)
	if !ok {
		w.sendFailed(errors.New("upgrade without a connection"))
		return
	}
	w.Resp.Body = nil
	sent, err := w.x.Tunnel(w.Resp, up)
	w.sent = sent
	if err != nil {
		w.sendFailed(err)
	}
}

// The ways to choose the Host that goes upstream.
const (
	passClient = iota
	passNode
	passRewrite
)

var passHosts = map[string]int{"": passClient, "pass": passClient, "node": passNode, "rewrite": passRewrite}

// nodeHost is the Host of a node: its name, with the port unless that is the scheme's own.
func (w *walk) nodeHost(ep *balancer.Endpoint) string {
	if ep.Port == 0 || ep.Port == uri.DefaultPort(w.UpstreamScheme) {
		return uri.Bracketed(ep.Host)
	}
	return w.text(uri.Bracketed(ep.Host), ":", strconv.Itoa(ep.Port))
}

// times of an upstream that names none, in seconds.
var defaultTimeout = resource.Timeout{Connect: 60, Send: 60, Read: 60}
