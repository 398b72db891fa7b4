package relay

import (
	"context"
	"errors"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// handler serves one call of a client.
type handler func(grpc.ServerStream) error

// handlers of all methods by name. What is not special goes to the cluster as
// it came, and its answer back.
func (r *Relay) handlers() map[string]handler {
	hs := map[string]handler{}
	for _, d := range []grpc.ServiceDesc{
		pb.KV_ServiceDesc, pb.Watch_ServiceDesc, pb.Lease_ServiceDesc, pb.Cluster_ServiceDesc, pb.Maintenance_ServiceDesc,
		pb.Auth_ServiceDesc, v3lockpb.Lock_ServiceDesc, v3electionpb.Election_ServiceDesc,
	} {
		for _, m := range d.Methods {
			name := "/" + d.ServiceName + "/" + m.MethodName
			hs[name] = func(in grpc.ServerStream) error { return r.forward(in, name) }
		}
		for _, m := range d.Streams {
			name := "/" + d.ServiceName + "/" + m.StreamName
			hs[name] = func(in grpc.ServerStream) error { return r.forwardStream(in, name) }
		}
	}
	for name, newQ := range map[string]func() proto.Message{
		pb.KV_Put_FullMethodName:         func() proto.Message { return new(pb.PutRequest) },
		pb.KV_DeleteRange_FullMethodName: func() proto.Message { return new(pb.DeleteRangeRequest) },
		pb.KV_Txn_FullMethodName:         func() proto.Message { return new(pb.TxnRequest) },
	} {
		hs[name] = func(in grpc.ServerStream) error { return r.forwardWrite(in, name, newQ()) }
	}
	for name, h := range r.rewriters() {
		hs[name] = h
	}
	hs[pb.KV_Range_FullMethodName] = r.getRange
	hs[pb.Watch_Watch_FullMethodName] = r.watch
	hs[pb.Lease_LeaseKeepAlive_FullMethodName] = r.renewals.serve
	hs[pb.Cluster_MemberList_FullMethodName] = r.members.list
	return hs
}

// serve finds the handler of a call.
func (r *Relay) serve(hs map[string]handler) grpc.StreamHandler {
	return func(_ any, in grpc.ServerStream) error {
		name, _ := grpc.MethodFromServerStream(in)
		if h := hs[name]; h != nil {
			return h(in)
		}
		return status.Errorf(codes.Unimplemented, "unknown method %s", name)
	}
}

// outgoing is the context of the call that a client's call becomes: with its
// token and whatever else it says.
func outgoing(ctx context.Context) context.Context {
	in, _ := metadata.FromIncomingContext(ctx)
	out := metadata.MD{}
	for k, v := range in {
		switch {
		case strings.HasPrefix(k, ":"), strings.HasPrefix(k, "grpc-"), k == "content-type", k == "user-agent", k == "te", k == "host":
		default:
			out[k] = v
		}
	}
	return metadata.NewOutgoingContext(ctx, out)
}

// tokenOf is who the client says it is.
func tokenOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, k := range []string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if v := md.Get(k); len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// call makes a unary call in the name of a client.
func (r *Relay) call(ctx context.Context, method string, q, a any) error {
	return r.client.ActiveConnection().Invoke(outgoing(ctx), method, q, a, grpc.ForceCodecV2(codec{}))
}

func (r *Relay) forward(in grpc.ServerStream, method string) error {
	var q, a frame
	if err := in.RecvMsg(&q); err != nil {
		return err
	}
	if err := r.call(in.Context(), method, &q, &a); err != nil {
		return err
	}
	return in.SendMsg(&a)
}

// forwardStream carries the messages of a streaming call both ways.
func (r *Relay) forwardStream(in grpc.ServerStream, method string) error {
	return r.carry(in, method, func() any { return new(frame) }, func() any { return new(frame) }, nil, nil)
}

// carry is forwardStream with messages that may be changed on their way.
func (r *Relay) carry(in grpc.ServerStream, method string, newQ, newA func() any, q func(any) error, a func(any)) error {
	ctx, cancel := context.WithCancel(outgoing(in.Context()))
	defer cancel()
	out, err := r.client.ActiveConnection().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return err
	}
	refused := make(chan error, 1)
	go func() { // ends with the call
		for {
			m := newQ()
			err := in.RecvMsg(m)
			if err == nil && q != nil {
				err = q(m)
			}
			if err == nil {
				err = out.SendMsg(m)
			}
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = out.CloseSend() // also when the cluster ended the call: its status is read below
				}
				if err != nil {
					refused <- err
					cancel()
				}
				return
			}
		}
	}()
	for {
		m := newA()
		if err := out.RecvMsg(m); err != nil {
			select {
			case err = <-refused:
			default:
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if a != nil {
			a(m)
		}
		if err := in.SendMsg(m); err != nil {
			return err
		}
	}
}
