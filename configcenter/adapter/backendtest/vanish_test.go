package backendtest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/configcenter/adapter/backendtest"
)

// hole passes bytes on to a server, until a connection says something that it
// swallows when armed: then nothing more comes through that connection, and it
// stays open.
type hole struct {
	t      *testing.T
	server string
	word   []byte
	armed  atomic.Bool
	all    sync.WaitGroup
}

func (h *hole) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.all.Go(func() { h.pass(c) })
	}
}

func (h *hole) pass(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("unix", h.server)
	if err != nil {
		h.t.Error(err)
		return
	}
	back := make(chan struct{})
	go func() { // ends with the connection to the server
		defer close(back)
		io.Copy(c, s)
	}()
	for buf := make([]byte, 64<<10); ; {
		n, err := c.Read(buf)
		if err == nil && bytes.Contains(buf[:n], h.word) && h.armed.CompareAndSwap(true, false) {
			io.Copy(io.Discard, c) // until the client gives up
			err = io.EOF
		}
		if err == nil {
			_, err = s.Write(buf[:n])
		}
		if err != nil {
			s.Close()
			<-back
			return
		}
	}
}

// A server that vanishes in the middle of a commit, so that nothing more comes
// from it and nothing tells that, is given up; then all goes on.
func TestServerVanishesInCommit(t *testing.T) {
	for _, k := range backendtest.Kinds {
		if k.Name != "mysql" {
			continue // PostgreSQL's driver ends a commit with its context; the others have no server
		}
		url := k.URL(t)
		head, rest, _ := strings.Cut(url, "unix(")
		sock, db, _ := strings.Cut(rest, ")")
		h := &hole{t: t, server: sock, word: []byte("COMMIT")}
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		h.all.Go(func() { h.serve(l) })
		defer h.all.Wait()
		defer l.Close()
		s := backendtest.Open(t, head+"unix("+path+")"+db+"?readTimeout=2s")
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		h.armed.Store(true)
		if _, err := put(ctx, s, "/key", "lost"); err == nil {
			t.Error("a write without an answer was acknowledged")
		}
		if rev, err := put(ctx, s, "/key", "kept"); err != nil || rev != 2 {
			t.Errorf("a write afterwards has revision %d, %v", rev, err)
		}
	}
}
