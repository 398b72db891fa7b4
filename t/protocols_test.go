package t

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func (u *upstream) webSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, text, err := c.Read(r.Context())
		if err != nil {
			return
		}
		u.note(string(text))
		if c.Write(r.Context(), kind, append([]byte(u.name+":"), text...)) != nil {
			return
		}
	}
}

// ws PATH TEXT… opens a WebSocket, sends each text and takes an answer to each;
// the body is then what came back, one a line. "!" wants the handshake to fail;
// its answer is then the last one.
func ws(s *scenario, not bool, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	rest, o := options(args, "host", "header", "tls")
	if len(rest) == 0 {
		return errors.New("usage: ws /PATH TEXT…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	scheme, port := "ws", httpPort
	if o["tls"] != nil {
		scheme, port = "wss", httpsPort
	}
	hs, err := headers(o["header"])
	if err != nil {
		return err
	}
	h := http.Header{}
	for _, f := range hs {
		h.Add(f[0], f[1])
	}
	c, resp, err := websocket.Dial(ctx, fmt.Sprintf("%s://%s:%d%s", scheme, s.ip, port, rest[0]),
		&websocket.DialOptions{Host: first(o["host"]), HTTPHeader: h,
			HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}})
	if resp != nil {
		s.answer = &answer{status: resp.StatusCode, header: resp.Header}
	}
	if not && err != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.CloseNow()
	if not {
		return errors.New("the WebSocket opens")
	}
	for _, text := range rest[1:] {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return err
		}
		_, back, err := c.Read(ctx)
		if err != nil {
			return err
		}
		s.answer.body += string(back) + "\n"
	}
	return c.Close(websocket.StatusNormalClosure, "")
}

// bytesCodec passes messages as they are: the scenarios do not need a schema.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "bytes" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// grpc serves any method: it sends each message back behind the server's name.
// A message "fail N" ends the call with status N instead. A method called Same
// sends messages back as they are, one called FailN ends with status N at once.
func (u *upstream) grpc() {
	srv := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(st)
		md, _ := metadata.FromIncomingContext(st.Context())
		u.note(fmt.Sprint(method, " ", md))
		st.SetTrailer(metadata.Pairs("x-trailer", u.name))
		name := method[strings.LastIndexByte(method, '/')+1:]
		if n, ok := strings.CutPrefix(name, "Fail"); ok {
			code, _ := strconv.Atoi(n)
			failed, err := rpcstatus.New(codes.Code(code), "as asked").WithDetails(wrapperspb.String("because"))
			if err != nil {
				return err
			}
			return failed.Err()
		}
		behind := u.name + ":"
		if name == "Same" {
			behind = ""
		}
		for {
			var msg []byte
			if err := st.RecvMsg(&msg); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if n, ok := strings.CutPrefix(string(msg), "fail "); ok {
				code, _ := strconv.Atoi(n)
				return rpcstatus.Error(codes.Code(code), "as asked")
			}
			out := append([]byte(behind), msg...)
			if err := st.SendMsg(&out); err != nil {
				return err
			}
		}
	}))
	u.stop = srv.Stop
	go srv.Serve(u.l) // ends with close
}

// grpc METHOD TEXT… calls /package.Service/Method with each text as a message of
// one stream. The body is what came back, one a line; the status is the gRPC
// status; trailers are in header as "Trailer:name". Options: tls, header.
func grpcVerb(s *scenario, not bool, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	rest, o := options(args, "header", "tls", "host")
	if not || len(rest) < 2 {
		return errors.New("usage: grpc /PACKAGE.SERVICE/METHOD TEXT…")
	}
	creds, port := insecure.NewCredentials(), httpPort
	if o["tls"] != nil {
		creds, port = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: first(o["host"])}), httpsPort
	}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if h := first(o["host"]); h != "" {
		dial = append(dial, grpc.WithAuthority(h))
	}
	c, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(s.ip, strconv.Itoa(port)), dial...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	hs, err := headers(o["header"])
	if err != nil {
		return err
	}
	for _, h := range hs {
		ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(h[0]), h[1])
	}
	st, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, rest[0], grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		return err
	}
	a := &answer{header: http.Header{}}
	s.answer = a
	err = exchange(st, rest[1:], a)
	a.status = int(rpcstatus.Code(err))
	if err != nil {
		a.header.Set("Grpc-Message", rpcstatus.Convert(err).Message())
	}
	for name, v := range st.Trailer() {
		a.header["Trailer:"+name] = v
	}
	return nil
}

// exchange sends each text and takes an answer to it; nil is the end that was wanted.
func exchange(st grpc.ClientStream, texts []string, a *answer) error {
	for _, text := range texts {
		msg := []byte(text)
		if err := st.SendMsg(&msg); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var back []byte
		if err := st.RecvMsg(&back); err != nil {
			return err
		}
		a.body += string(back) + "\n"
	}
	if err := st.CloseSend(); err != nil {
		return err
	}
	var more []byte
	if err := st.RecvMsg(&more); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// tcp PORT TEXT… sends each text over one TCP connection and takes an answer
// to each. Options: tls, sni. "!" wants no answer.
func tcp(s *scenario, not bool, args []string) error {
	return session(s, not, "tcp", args)
}

// udp PORT TEXT… is tcp with datagrams.
func udp(s *scenario, not bool, args []string) error {
	return session(s, not, "udp", args)
}

func session(s *scenario, not bool, network string, args []string) error {
	if err := s.settle(); err != nil {
		return err
	}
	rest, o := options(args, "tls", "sni", "from")
	if len(rest) < 2 {
		return fmt.Errorf("usage: %s PORT TEXT…", network)
	}
	wait := limit
	if not {
		wait = 2 * time.Second // nothing comes: how long to believe it
	}
	c, err := net.DialTimeout(network, net.JoinHostPort(s.ip, rest[0]), limit)
	if err != nil {
		if not {
			return nil
		}
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(wait))
	if o["tls"] != nil || o["sni"] != nil {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: first(o["sni"])})
	}
	s.answer = &answer{raw: true, header: http.Header{}}
	buf := make([]byte, 64<<10)
	for _, text := range rest[1:] {
		n := 0
		if _, err = io.WriteString(c, text); err == nil {
			n, err = c.Read(buf)
		}
		if err != nil {
			break
		}
		s.answer.body += string(buf[:n]) + "\n"
	}
	if (err != nil) != not {
		return fmt.Errorf("%s: %v, got %q", network, err, s.answer.body)
	}
	return nil
}
