package relay

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec of what is not a frame
	"google.golang.org/grpc/mem"
)

// frame is a message that is not looked into: what was received, or what is
// encoded already.
type frame struct{ data mem.BufferSlice }

func newFrame(parts ...[]byte) *frame {
	f := &frame{make(mem.BufferSlice, len(parts))}
	for i, p := range parts {
		f.data[i] = mem.SliceBuffer(p)
	}
	return f
}

func (f *frame) bytes() []byte {
	if len(f.data) == 1 {
		return f.data[0].ReadOnlyData()
	}
	return f.data.Materialize()
}

// codec passes frames as they are, and is gRPC's own for all other messages.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.data, nil // not counted: a frame's buffers are the garbage collector's
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.data = mem.BufferSlice{mem.SliceBuffer(data.Materialize())}
		return nil
	}
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}
