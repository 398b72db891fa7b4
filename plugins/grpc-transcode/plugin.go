// Package grpctranscode lets HTTP clients call a method of gRPC: the request's
// data becomes the method's message, and the answer becomes JSON.
package grpctranscode

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/configcenter/resource"
	"sluice/configcenter/resource/protofile"
	"sluice/plugins"
)

//go:embed schema.json
var schema string

// Plugin is grpc-transcode.
var Plugin = plugins.Spec{
	Name:     "grpc-transcode",
	Priority: 506,
	Version:  "0.1",
	Schema:   schema,
	Refs:     refs,
	New:      plugins.Build(build),
}

type config struct {
	ProtoID          resource.ID `json:"proto_id"`
	Service          string      `json:"service"`
	Method           string      `json:"method"`
	Deadline         float64     `json:"deadline"`
	PBOption         []string    `json:"pb_option"`
	ShowStatusInBody bool        `json:"show_status_in_body"`
	StatusDetailType string      `json:"status_detail_type"`
	MaxRespBodySize  int         `json:"max_resp_body_size"`
}

func (c *config) ref() resource.Ref {
	return resource.Ref{Kind: resource.Protos, ID: string(c.ProtoID)}
}

func refs(conf json.RawMessage) []resource.Ref {
	var c config
	if plugins.Decode(conf, &c) != nil {
		return nil // New says what is wrong
	}
	return []resource.Ref{c.ref()}
}

type transcoder struct {
	config
	options options
	missing error                         // why there is no proto; nil: there is one
	method  protoreflect.MethodDescriptor // nil: the service has no such method
	uri     string
	timeout string // grpc-timeout; "" for none
	details protoreflect.MessageDescriptor
}

func build(c *config, env *plugins.Env) (plugins.Phases, error) {
	t := &transcoder{config: *c, options: newOptions(c.PBOption), uri: "/" + c.Service + "/" + c.Method, timeout: timeout(c.Deadline)}
	release := t.open(env)
	return plugins.Phases{Access: t.access, HeaderFilter: t.headerFilter, BodyFilter: t.bodyFilter, Close: release}, nil
}

// shared is a compiled proto that all instances with the same text use.
type shared struct {
	once sync.Once
	set  *protofile.Set
	err  error
}

// open looks the method up. What is missing is no error yet: it may come later,
// and the requests until then are told.
func (t *transcoder) open(env *plugins.Env) (release func()) {
	def, _ := env.Object(t.ref()).(*resource.Proto)
	if def == nil {
		t.missing = fmt.Errorf("failed to find proto by id: %s", t.ProtoID)
		return nil
	}
	sum := sha256.Sum256([]byte(def.Content))
	s, release := plugins.Share(env.Shared, "grpc-transcode#"+hex.EncodeToString(sum[:]), func() *shared { return new(shared) }, nil)
	s.once.Do(func() { s.set, s.err = protofile.Compile(context.Background(), def.Content) })
	if s.err != nil {
		t.missing = s.err
		return release
	}
	t.method = s.set.Method(t.Service, t.Method)
	t.details = s.set.Message(t.StatusDetailType)
	return release
}

// timeout is a number of milliseconds as grpc-timeout has it: at most eight
// digits and a unit.
func timeout(ms float64) string {
	const most = 99999999
	switch {
	case ms <= 0:
		return ""
	case ms == float64(int64(ms)) && ms <= most:
		return strconv.FormatInt(int64(ms), 10) + "m"
	case ms*1000 <= most:
		return strconv.FormatInt(max(int64(ms*1000), 1), 10) + "u"
	}
	return strconv.FormatInt(int64(min(ms/1000, most)), 10) + "S"
}

// maxBody bounds the request bodies that are read, in bytes.
const maxBody = 64 << 20

// prefix is the length of what stands before a message: a flag and its size.
const prefix = 5

func (t *transcoder) access(c *plugins.Ctx) (*plugins.Reply, error) {
	if t.missing != nil {
		c.Log().Error("proto load error", "err", t.missing)
		return nil, nil
	}
	if t.method == nil {
		c.Log().Error("transform request error", "err", "Undefined service method: "+t.Service+"/"+t.Method+" end")
		return plugins.Exit(503, nil), nil
	}
	data, err := read(c)
	if err != nil {
		return nil, err
	}
	m := dynamicpb.NewMessage(t.method.Input())
	text := make([]byte, prefix, 64)
	if err = fill(m, data); err == nil {
		text, err = proto.MarshalOptions{AllowPartial: true}.MarshalAppend(text, m)
	}
	if err != nil {
		c.Log().Error("transform request error", "err", "failed to encode request data to protobuf: "+err.Error())
		return plugins.Exit(400, nil), nil
	}
	binary.BigEndian.PutUint32(text[1:prefix], uint32(len(text)-prefix))
	c.Req.Method, c.UpstreamURI = "POST", t.uri
	c.SetBody(text)
	c.Req.Header.Set("Content-Length", strconv.Itoa(len(text)))
	if t.timeout != "" {
		c.Req.Header.Set("grpc-timeout", t.timeout)
	}
	c.SetValue(t, &answer{})
	return nil, nil
}

// statuses are what the codes of gRPC are in HTTP.
var statuses = [...]int{1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409,
	11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401}

func (t *transcoder) headerFilter(c *plugins.Ctx) error {
	a, _ := c.Value(t).(*answer)
	if a == nil || c.Resp.Status >= 300 {
		return nil
	}
	h := &c.Resp.Header
	h.Set("Content-Type", "application/json")
	h.Del("Content-Length")
	c.Resp.ContentLength = -1
	code := h.Get("grpc-status")
	if code == "" || code == "0" {
		h.Add("Trailer", "grpc-status")
		h.Add("Trailer", "grpc-message")
		return nil
	}
	c.Resp.Status = 599
	if n, err := strconv.Atoi(code); err == nil && n > 0 && n < len(statuses) {
		c.Resp.Status = statuses[n]
	}
	return nil
}
