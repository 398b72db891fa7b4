package netout

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestDial: on a connection to somebody who says nothing only the deadline ends a read.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	const soon = time.Second
	for name, x := range map[string]struct {
		host         string
		limit, until time.Duration
	}{
		"context":  {"127.0.0.1", time.Hour, soon},
		"limit":    {"localhost", soon, time.Hour},
		"brackets": {"[127.0.0.1]", soon, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), x.until)
			defer cancel()
			conn, err := Dial(ctx, "tcp", x.host, port, x.limit)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, "tcp", "127.0.0.1", port, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
