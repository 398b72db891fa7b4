package zipkin

import (
	"net/netip"
	"strconv"
	"time"

	"sluice/plugins"
	"sluice/plugins/internal/logentry"
)

// span is one that has ended. server is the one of the whole request.
type span struct {
	name, id, parent string
	from, to         time.Time
	server           bool
}

// report hands a span on, as JSON of Zipkin's second version.
func (t *tracer) report(c *plugins.Ctx, s *trace, sp span) {
	b := make([]byte, 0, 512)
	b = append(append(b, `{"traceId":"`...), s.id...)
	b = append(append(b, `","name":"`...), sp.name...)
	if sp.parent != "" {
		b = append(append(b, `","parentId":"`...), sp.parent...)
	}
	b = append(append(b, `","id":"`...), sp.id...)
	b = append(b, '"')
	if sp.server {
		b = append(b, `,"kind":"SERVER"`...)
	}
	b = strconv.AppendInt(append(b, `,"timestamp":`...), sp.from.UnixMicro(), 10)
	b = strconv.AppendInt(append(b, `,"duration":`...), max(sp.to.Sub(sp.from).Microseconds(), 0), 10)
	b = append(b, `,"localEndpoint":{"serviceName":`...)
	b = logentry.AppendString(b, t.ServiceName)
	if t.ServerAddr != "" {
		b = logentry.AppendString(append(b, `,"ipv4":`...), t.ServerAddr)
	} else {
		b = appendAddr(append(b, ','), c.Req.Local.Addr())
	}
	b = strconv.AppendUint(append(b, `,"port":`...), uint64(c.Req.Local.Port()), 10)
	b = append(b, '}')
	if sp.server {
		b = appendAddr(append(b, `,"remoteEndpoint":{`...), c.Addr)
		b = strconv.AppendUint(append(b, `,"port":`...), uint64(c.Port), 10)
		b = append(b, '}')
		b = t.appendTags(b, c)
	} else {
		b = append(b, `,"remoteEndpoint":null,"tags":{}`...)
	}
	t.queue.Push(c, append(b, '}'))
}

func (t *tracer) appendTags(b []byte, c *plugins.Ctx) []byte {
	b = append(b, `,"tags":{"component":"apisix","http.method":`...)
	b = logentry.AppendString(b, c.Req.Method)
	b = logentry.AppendString(append(b, `,"http.url":`...), c.Var("request_uri"))
	if c.Resp != nil {
		b = strconv.AppendInt(append(b, `,"http.status_code":"`...), int64(c.Resp.Status), 10)
		b = append(b, '"')
	}
	b = logentry.AppendString(append(b, `,"apisix.response_source":`...), c.ReplySource)
	return append(b, '}')
}

func appendAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		b = append(b, `"ipv4":"`...)
	} else {
		b = append(b, `"ipv6":"`...)
	}
	return append(a.AppendTo(b), '"')
}
