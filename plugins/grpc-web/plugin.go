// Package grpcweb lets browsers call gRPC services: it turns gRPC-Web, in its
// binary and its text form, into gRPC and back.
package grpcweb

import (
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"sluice/gateway/uri"
	"sluice/gateway/wire"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is grpc-web.
var Plugin = plugins.Spec{
	Name:     "grpc-web",
	Priority: 505,
	Version:  "0.1",
	Schema:   schema,
	New:      plugins.Build(build),
}

type config struct {
	CORSAllowHeaders string `json:"cors_allow_headers"`
	MaxReqBodySize   int64  `json:"max_req_body_size"`
}

type translator struct{ config }

func build(c *config, _ *plugins.Env) (plugins.Phases, error) {
	t := &translator{*c}
	return plugins.Phases{Access: t.access, HeaderFilter: t.headerFilter, BodyFilter: t.bodyFilter}, nil
}

// call is a request of gRPC-Web on its way.
type call struct {
	mime string // of the request, and so of the answer
	text bool   // both are base64
	told bool   // the answer's header has the status: no trailer follows in the body
	out  []byte // what the filter returned last
}

// textual says for the content types of gRPC-Web whether they are base64.
var textual = map[string]bool{
	"application/grpc-web":            false,
	"application/grpc-web-text":       true,
	"application/grpc-web+proto":      false,
	"application/grpc-web-text+proto": true,
}

func (t *translator) access(c *plugins.Ctx) (*plugins.Reply, error) {
	switch c.Req.Method {
	case "OPTIONS":
		return plugins.Exit(204, nil), nil
	case "POST":
	default:
		c.Log().Error("request method: `" + c.Req.Method + "` invalid")
		return plugins.Exit(405, nil), nil
	}
	mime := c.Req.Header.Get("Content-Type")
	text, ok := textual[mime]
	if !ok {
		c.Log().Error("request Content-Type: `" + mime + "` invalid")
		return plugins.Exit(400, nil), nil
	}
	body, err := t.body(c, text)
	if err != nil {
		var broken *wire.Error
		if errors.As(err, &broken) {
			return nil, err // the client is gone, or does not speak HTTP
		}
		c.Log().Error("failed to read request body", "err", err)
		return plugins.Exit(400, nil), nil
	}
	for _, p := range c.Params {
		if p.Name == ":ext" && p.Value != "" {
			c.Rewritten = "/" + strings.TrimPrefix(p.Value, "/")
			c.UpstreamURI = uri.Encode(c.Rewritten)
		}
	}
	c.SetBody(body)
	h := &c.Req.Header
	h.Set("Content-Type", "application/grpc")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.SetValue(t, &call{mime: strings.Clone(mime), text: text})
	return nil, nil
}

// body is the request's body as gRPC has it.
func (t *translator) body(c *plugins.Ctx, text bool) ([]byte, error) {
	body, err := c.Body(t.MaxReqBodySize)
	if err == nil && len(body) == 0 {
		err = errors.New("there is none")
	}
	if err != nil || !text {
		return body, err
	}
	return decode(body)
}

// decode decodes base64 that may have been padded at any multiple of four: the
// client encodes piece by piece.
func decode(text []byte) ([]byte, error) {
	out := make([]byte, 0, base64.StdEncoding.DecodedLen(len(text)))
	for len(text) > 0 {
		n := len(text)
		for i := 3; i < n; i += 4 {
			if text[i] == '=' {
				n = i + 1
			}
		}
		enc := base64.StdEncoding
		if n%4 != 0 {
			enc = base64.RawStdEncoding
		}
		var err error
		if out, err = enc.AppendDecode(out, text[:n]); err != nil {
			return nil, err
		}
		text = text[n:]
	}
	return out, nil
}

func (t *translator) headerFilter(c *plugins.Ctx) error {
	h := &c.Resp.Header
	if c.Req.Method == "OPTIONS" {
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", t.CORSAllowHeaders)
	}
	if !h.Has("Access-Control-Allow-Origin") { // or another plugin said who may
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Access-Control-Expose-Headers", "grpc-message,grpc-status")
	w, _ := c.Value(t).(*call)
	if w == nil {
		return nil
	}
	h.Set("Content-Type", w.mime)
	h.Del("Content-Length")
	h.Del("Trailer")
	c.Resp.ContentLength = -1
	w.told = h.Has("grpc-status")
	return nil
}

func (t *translator) bodyFilter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	w, _ := c.Value(t).(*call)
	if w == nil {
		return piece, nil
	}
	w.out = w.append(w.out[:0], piece)
	if last && !w.told {
		w.out = w.append(w.out, frame(&c.Resp.Trailer))
		c.Resp.Trailer.Reset() // it is in the body now
	}
	return w.out, nil
}

// append adds b as the client wants it.
func (w *call) append(to, b []byte) []byte {
	if w.text {
		return base64.StdEncoding.AppendEncode(to, b)
	}
	return append(to, b...)
}

// frame is a trailer as part of the body: a flag, the length, and field lines.
func frame(tr *wire.Header) []byte {
	status, message := tr.Get("grpc-status"), tr.Get("grpc-message")
	if status == "" {
		status, message = "2", "upstream grpc status not received"
	}
	b := append(make([]byte, 5, 64), "grpc-status:"...)
	b = append(append(append(b, status...), "\r\ngrpc-message:"...), message...)
	b = append(b, '\r', '\n')
	for name, value := range tr.All() {
		if wire.EqualFold(name, "grpc-status") || wire.EqualFold(name, "grpc-message") {
			continue
		}
		b = append(append(b, strings.ToLower(name)...), ':')
		b = append(append(b, value...), '\r', '\n')
	}
	b[0] = 0x80
	binary.BigEndian.PutUint32(b[1:5], uint32(len(b)-5))
	return b
}
