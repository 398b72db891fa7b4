package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"sluice/gateway/errorpage"
	"sluice/gateway/tally"
	"sluice/gateway/wire"
	"sluice/plugins"
)

// replyBody is the body of a response made here; it belongs to the walk.
type replyBody struct {
	b   []byte
	off int
}

func (r *replyBody) Read(p []byte) (int, error) {
	if r.off >= len(r.b) {
		return 0, io.EOF
	}
	n := copy(p, r.b[r.off:])
	r.off += n
	return n, nil
}

// Close makes replyBody a wire body.
func (*replyBody) Close() error { return nil }

// Bytes is the whole body: the engine writes it together with the header.
func (r *replyBody) Bytes() []byte { return r.b[r.off:] }

// reply puts a reply into w.x.Resp.
func (w *walk) reply(rep *plugins.Reply) {
	if w.ReplySource == "" {
		w.ReplySource = "apisix"
	}
	resp := &w.x.Resp
	*resp = wire.Response{Status: w.FinalStatus(rep), Header: resp.Header, Trailer: resp.Trailer}
	resp.Header.Reset()
	resp.Trailer.Reset()
	for name, value := range rep.Header.All() {
		resp.Header.Add(name, value)
	}
	if stored, ok := rep.Body.(*plugins.Content); ok && stored.Stream != nil {
		resp.Body, resp.ContentLength = stored.Stream, stored.Length
		return
	}
	body, contentType := w.replyBytes(rep)
	if contentType != "" && !resp.Header.Has("Content-Type") && !w.RespHeader.Has("Content-Type") {
		resp.Header.Add("Content-Type", contentType)
	}
	resp.ContentLength = int64(len(body))
	w.body = replyBody{b: body}
	resp.Body = &w.body
}

// replyBytes is a reply's body and the type it has by default.
func (w *walk) replyBytes(rep *plugins.Reply) ([]byte, string) {
	byPath := w.g.types.Of(w.Path)
	switch b := rep.Body.(type) {
	case nil:
		if page := errorpage.Page(rep.Status); page != nil {
			return page, w.g.types.Page()
		}
		return nil, byPath
	case string:
		return []byte(b), byPath
	case []byte:
		return b, byPath
	case *plugins.Content:
		return b.Bytes, ""
	case json.RawMessage:
		return append(b[:len(b):len(b)], '\n'), byPath
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.Log().Error("reply cannot be encoded", "err", err)
			return errorpage.Page(500), w.g.types.Page()
		}
		return append(text, '\n'), byPath
	}
}

// fault is the answer to an error on the walk: logged once, here. Whose fault
// it is decides the status.
func (w *walk) fault(err error) *plugins.Reply {
	var e *wire.Error
	var tooLarge *plugins.BodyTooLargeError
	switch {
	case errors.As(err, &tooLarge):
		return plugins.Exit(413, plugins.Message{Message: tooLarge.Error()})
	case errors.As(err, &e):
		w.ReplySource = "nginx"
		status := e.Status()
		if e.Side != wire.Client {
			w.Log().Error("upstream failed", "err", err, "status", status)
		}
		return &plugins.Reply{Status: status}
	default:
		w.logFailure("request failed", err)
		return &plugins.Reply{Status: 500}
	}
}

// discard gives up a response that will not be sent.
func (w *walk) discard() {
	if b := w.x.Resp.Body; b != nil {
		b.Close()
		w.x.Resp.Body = nil
	}
}

// decorate adds what every response carries: Server, the upstream's status
// where wanted, and the fields that plugins set before the response existed.
func (w *walk) decorate() {
	h := &w.Resp.Header
	h.SetOwn("Server", w.g.o.ServerHeader)
	if n := len(w.Tries); n > 0 {
		last := w.Tries[n-1].Status
		if w.g.o.UpstreamStatusAlways || last >= 500 && last <= 599 {
			h.Set("X-APISIX-Upstream-Status", w.upstreamStatus())
		}
	}
	own := &w.RespHeader
	for i := range own.Len() {
		h.Del(own.At(i).Name)
	}
	for i := range own.Len() {
		f := own.At(i)
		h.Add(f.Name, f.Value)
	}
	w.charset()
}

// charset completes text types that name none, as nginx's charset does.
func (w *walk) charset() {
	if v, ok := w.Resp.Header.Lookup("Content-Type"); ok {
		if full := w.g.types.Complete(v); len(full) != len(v) {
			w.Resp.Header.Set("Content-Type", full)
		}
	}
}

// upstreamStatus is nginx's $upstream_status: the statuses of all tries.
func (w *walk) upstreamStatus() string {
	b := w.Scratch()
	for i := range w.Tries {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, int64(w.Tries[i].Status), 10)
	}
	return w.Keep(b)
}

// logFailure logs an error, of a plugin's panic with the stack.
func (w *walk) logFailure(msg string, err error) {
	var f *plugins.Failure
	if errors.As(err, &f) && f.Kind == tally.Panic {
		w.Log().Error("panic, "+msg, "err", err, "phase", f.Phase.String(), "stack", string(f.Stack))
		return
	}
	w.Log().Error(msg, "err", err)
}
