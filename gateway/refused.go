package gateway

import (
	"sluice/gateway/wire"
)

// Refused makes the answer to a message that the engine itself refuses: the
// same page and fields as any other answer. Such a request has no walk — no
// route, no plugins — but it has its line in the access log. It is
// wire.Server's BadRequest.
func (g *Gateway) Refused(x *wire.Exchange, status int) *wire.Response {
	w := g.begin(x)
	w.Path = "/"
	w.Addr, w.Port = x.Req.Remote.Addr().Unmap(), x.Req.Remote.Port()
	w.reply(w.refuse(status))
	w.Resp = &x.Resp
	w.decorate()
	w.BytesSent, w.BodySent = w.Resp.ContentLength, w.Resp.ContentLength
	g.o.AccessLog.Write(&w.Ctx, x.Lane())
	return w.Resp
}
