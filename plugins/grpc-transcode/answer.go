package grpctranscode

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/plugins"
)

// answer is how far the body of one response is.
type answer struct {
	held []byte
	done bool // the new body is out: what still comes is dropped
}

func (t *transcoder) bodyFilter(c *plugins.Ctx, piece []byte, last bool) ([]byte, error) {
	a, _ := c.Value(t).(*answer)
	failed := c.Resp.Status >= 300
	if a == nil || failed && (!t.ShowStatusInBody || !c.Resp.Header.Has("grpc-status-details-bin")) {
		return piece, nil
	}
	if a.done {
		return nil, nil
	}
	a.held = append(a.held, piece[:min(len(piece), t.MaxRespBodySize-len(a.held))]...)
	if !last && len(a.held) < t.MaxRespBodySize {
		return nil, nil
	}
	a.done = true
	text, err := t.transcode(c, a.held, failed)
	if err != nil {
		c.Log().Error("transform response error", "err", err)
		text, _, _ := strings.Cut(err.Error(), ", err: ")
		return []byte(text), nil // the client sees what failed, not why
	}
	return text, nil
}

// transcode is the new body.
func (t *transcoder) transcode(c *plugins.Ctx, body []byte, failed bool) ([]byte, error) {
	if failed {
		return t.status(c.Resp.Header.Get("grpc-status-details-bin"))
	}
	if !c.Req.Header.Has("X-Grpc-Web") {
		var err error
		if body, err = message(body); err != nil {
			return nil, fmt.Errorf("failed to decode response data by protobuf, err: %w", err)
		}
	}
	m, err := decode(t.method.Output(), body)
	if err != nil {
		return nil, fmt.Errorf("failed to decode response data by protobuf, err: %w", err)
	}
	p := printer{options: t.options, b: make([]byte, 0, 2*len(body)+64)}
	if err := p.message(m); err != nil {
		return nil, fmt.Errorf("failed to json_encode response body, err: %w", err)
	}
	return p.b, nil
}

// message is the only message of a body; one without any counts as empty.
func message(body []byte) ([]byte, error) {
	switch {
	case len(body) == 0:
		return nil, nil
	case len(body) < prefix:
		return nil, errors.New("the message is cut short")
	case body[0] != 0:
		return nil, errors.New("the message is compressed")
	}
	if size := binary.BigEndian.Uint32(body[1:prefix]); int64(size) != int64(len(body)-prefix) {
		return nil, fmt.Errorf("a message of %d bytes was announced, there are %d", size, len(body)-prefix)
	}
	return body[prefix:], nil
}

func decode(d protoreflect.MessageDescriptor, b []byte) (protoreflect.Message, error) {
	m := dynamicpb.NewMessage(d)
	err := proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(b, m)
	return m, err
}

// status is the body that shows the status of a failed call.
func (t *transcoder) status(details string) ([]byte, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(details, "="))
	if err != nil {
		return nil, errors.New("grpc-status-details-bin is not base64 format")
	}
	var st statuspb.Status
	if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(raw, &st); err != nil {
		return nil, fmt.Errorf("failed to call pb.decode to decode grpc-status-details-bin, err: %w", err)
	}
	p := printer{options: newOptions(nil)}
	p.b = append(p.b, `{"error":{"code":`...)
	p.integer(int64(st.Code))
	p.b = append(p.b, `,"message":`...)
	p.text(st.Message)
	p.b = append(p.b, `,"details":[`...)
	for i, d := range st.Details {
		if i > 0 {
			p.b = append(p.b, ',')
		}
		m := d.ProtoReflect()
		if t.StatusDetailType != "" {
			if t.details == nil {
				return nil, fmt.Errorf("failed to call pb.decode to decode details in grpc-status-details-bin, err: type '%s' does not exists", t.StatusDetailType)
			}
			if m, err = decode(t.details, d.Value); err != nil {
				return nil, fmt.Errorf("failed to call pb.decode to decode details in grpc-status-details-bin, err: %w", err)
			}
			p.options = t.options
		}
		if err := p.message(m); err != nil {
			return nil, fmt.Errorf("failed to json_encode response body, err: %w", err)
		}
	}
	p.b = append(p.b, "]}}"...)
	return p.b, nil
}
