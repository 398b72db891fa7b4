package adapter_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/memory"
)

// odd is a listener that at first has an error that passes, and then a
// connection on which nothing ever comes, whatever its deadline.
type odd struct {
	net.Listener
	accepts int
	taken   chan bool // told when the silent connection was accepted
}

type silent struct {
	net.Conn
	taken chan bool
}

func (o *odd) Accept() (net.Conn, error) {
	switch o.accepts++; o.accepts {
	case 1:
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	case 2:
		here, _ := net.Pipe()
		return &silent{here, o.taken}, nil
	}
	return o.Listener.Accept()
}

func (s *silent) SetReadDeadline(time.Time) error { s.taken <- true; return nil } // before it is read, and after

// Who connects and says nothing does not hold up others, nor the end of the
// server.
func TestSilentClient(t *testing.T) {
	s := must(adapter.New(adapter.Config{Backend: memory.New()}))(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	taken := make(chan bool, 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- s.Serve(running, &odd{Listener: l, taken: taken}) }()
	<-taken
	must(dial(t, l.Addr().String()).Put(ctx, &pb.PutRequest{Key: []byte("a")}))(t)
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("the server does not end")
	}
	s.Close()
}
