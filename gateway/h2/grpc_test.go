package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sluice/gateway/wire"
)

// plainBytes lets messages be byte slices, so that no generated code is needed.
type plainBytes struct{}

func (plainBytes) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (plainBytes) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (plainBytes) Name() string                       { return "bytes" }

// grpcUpstream answers every message of every method, until one says "fail".
func grpcUpstream(t *testing.T) string {
	t.Helper()
	srv := grpc.NewServer(grpc.ForceServerCodec(plainBytes{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(st)
		if method == "/test/Denied" {
			return status.Error(codes.PermissionDenied, "no: 100%")
		}
		md, _ := metadata.FromIncomingContext(st.Context())
		if err := st.SendHeader(metadata.Pairs("x-seen", fmt.Sprint(md.Get("x-call")))); err != nil {
			return err
		}
		st.SetTrailer(metadata.Pairs("x-end", "yes"))
		for {
			var m []byte
			err := st.RecvMsg(&m)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if string(m) == "fail" {
				return status.Error(codes.Aborted, "as asked")
			}
			answer := append([]byte("re: "), m...)
			if err := st.SendMsg(&answer); err != nil {
				return err
			}
		}
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return ln.Addr().String()
}

func grpcClient(t *testing.T, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plainBytes{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func TestGRPC(t *testing.T) {
	peer := wire.NewPeer(wire.PeerOptions{Addr: grpcUpstream(t), HTTP2: true, Idle: 4, IdleTimeout: time.Minute})
	t.Cleanup(peer.Close)
	proxy := func(x *wire.Exchange) {
		q := &x.Req
		out := wire.Outgoing{Method: q.Method, URI: q.Target, Host: q.Host, Header: &q.Header, Body: q.Body,
			ContentLength: q.ContentLength, Trailer: &q.Trailer}
		if _, err := peer.Do(x, &out, &x.Resp); err != nil {
			text(x, 502, err.Error())
			return
		}
		_, _ = x.Send(&x.Resp, nil)
	}
	_, plain := listen(t, proxy, Options{}, nil)
	_, secure := listen(t, proxy, Options{}, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}})
	for name, cc := range map[string]*grpc.ClientConn{
		"h2c": grpcClient(t, plain, insecure.NewCredentials()),
		"TLS": grpcClient(t, secure, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			unary(ctx, t, cc)
			bothWays(ctx, t, cc)
			var out []byte
			in := []byte("x")
			if err := cc.Invoke(ctx, "/test/Denied", &in, &out); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "no: 100%" {
				t.Errorf("denied: %v", err)
			}
		})
	}
}

func unary(ctx context.Context, t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	var out []byte
	var header, trailer metadata.MD
	in := []byte("hello")
	err := cc.Invoke(metadata.AppendToOutgoingContext(ctx, "x-call", "7"), "/test/Echo", &in, &out, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || string(out) != "re: hello" || len(trailer.Get("x-end")) != 1 || fmt.Sprint(header.Get("x-seen")) != "[[7]]" {
		t.Errorf("unary: %q, %v, header %v, trailer %v", out, err, header, trailer)
	}
	in = make([]byte, 1<<20)
	if err := cc.Invoke(ctx, "/test/Echo", &in, &out); err != nil || len(out) != len(in)+4 {
		t.Errorf("a large message: %d bytes, %v", len(out), err)
	}
}

// bothWays waits for each answer before it goes on: nothing may be held back.
func bothWays(ctx context.Context, t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	st, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test/Talk")
	if err != nil {
		t.Error(err)
		return
	}
	for i := range 20 {
		m := fmt.Appendf(nil, "m%d", i)
		if err := st.SendMsg(&m); err != nil {
			t.Error(err)
			return
		}
		var got []byte
		if err := st.RecvMsg(&got); err != nil || string(got) != "re: "+string(m) {
			t.Errorf("%q, %v", got, err)
			return
		}
	}
	m := []byte("fail")
	if err := st.SendMsg(&m); err != nil {
		t.Error(err)
	}
	var got []byte
	if err := st.RecvMsg(&got); status.Code(err) != codes.Aborted || len(st.Trailer().Get("x-end")) != 1 {
		t.Errorf("%v, trailer %v", err, st.Trailer())
	}
}
