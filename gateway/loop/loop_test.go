//go:build linux

package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Now()

func clock() int64 { return int64(time.Since(begin)) }

// group makes loops that end with the test.
func group(t testing.TB, n int) *Group {
	g, err := New(n, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// ends has the other end of each connection of pair.
var ends sync.Map

// pair is a connection and its other end. A test that fails ends: reads and
// writes of the other end do.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Take(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	ends.Store(c, far)
	_ = far.SetDeadline(time.Now().Add(20 * time.Second)) // a test that fails ends
	return c, far.(*net.TCPConn)
}

// serve has a loop call f for c. The test ends after f returned nil.
func serve(t testing.TB, g *Group, c *Conn, f Ready) {
	done := make(chan struct{})
	t.Cleanup(func() { // before the group is closed
		if far, ok := ends.LoadAndDelete(c); ok {
			far.(net.Conn).Close()
		}
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("a connection is not served to its end")
		}
	})
	if err := c.Serve(g.Next(), func(turn *Turn) *Conn {
		c.Under(turn)
		next := f(turn)
		if next == nil {
			c.Close()
			close(done)
		}
		return next
	}); err != nil {
		t.Fatal(err)
	}
}

// read reads what there is; false: nothing just now.
func read(c *Conn, p []byte) (n int, ok bool, err error) {
	if c.Expired() {
		return 0, true, os.ErrDeadlineExceeded
	}
	n, errno := syscall.Read(c.Fd(), p)
	switch {
	case errno == syscall.EAGAIN:
		return 0, false, nil
	case errno != nil:
		return 0, true, errno
	case n == 0:
		return 0, true, io.EOF
	}
	return n, true, nil
}

// echo gives back what comes, until the end.
func echo(c *Conn) Ready {
	return func(*Turn) *Conn {
		var p [4 << 10]byte
		for {
			n, ok, err := read(c, p[:])
			switch {
			case !ok:
				return c
			case err != nil:
				return nil
			}
			_, _ = syscall.Write(c.Fd(), p[:n])
		}
	}
}

func say(t testing.TB, far net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(far, s); err != nil {
		t.Error(err)
	}
	b := make([]byte, len(s))
	if _, err := io.ReadFull(far, b); err != nil || string(b) != s {
		t.Errorf("%q, %v; want %q", b, err, s)
	}
}

// TestMany: many connections on two loops.
func TestMany(t *testing.T) {
	g := group(t, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 50 {
		c, far := pair(t)
		serve(t, g, c, echo(c))
		wg.Go(func() {
			defer far.Close()
			for range 50 {
				say(t, far, "hello")
			}
		})
	}
}

// TestOthersGoOn: who leaves, or blocks without a word, keeps nobody.
func TestOthersGoOn(t *testing.T) {
	for name, leave := range map[string]bool{"leaves": true, "blocks": false} {
		t.Run(name, func(t *testing.T) {
			g := group(t, 1)
			a, afar := pair(t)
			b, bfar := pair(t)
			in, out := make(chan bool), make(chan bool)
			var first sync.Once
			serve(t, g, a, func(turn *Turn) *Conn {
				first.Do(func() {
					if leave {
						turn.Leave()
					}
					close(in)
					<-out
				})
				return echo(a)(turn)
			})
			serve(t, g, b, echo(b))
			_, _ = afar.Write([]byte("begin"))
			<-in
			say(t, bfar, "while the other waits")
			close(out)
			if _, err := io.ReadFull(afar, make([]byte, 5)); err != nil {
				t.Error(err)
			}
			say(t, afar, "and back on the loop")
			afar.Close()
			bfar.Close()
		})
	}
}

// TestMonitorWakes: after a long rest too, a call that blocks is seen.
func TestMonitorWakes(t *testing.T) {
	g := group(t, 1)
	for deadline := time.Now().Add(20 * time.Second); !g.asleep.Load(); {
		if time.Now().After(deadline) {
			t.Fatal("the monitor never rests")
		}
		<-time.After(patience)
	}
	a, afar := pair(t)
	b, bfar := pair(t)
	out := make(chan bool)
	serve(t, g, a, func(*Turn) *Conn { <-out; return nil })
	serve(t, g, b, echo(b))
	_, _ = afar.Write([]byte("x"))
	say(t, bfar, "hello")
	close(out)
	bfar.Close()
}

// TestFair: a connection on which something happens all the time does not keep
// others from the loop.
func TestFair(t *testing.T) {
	g := group(t, 1)
	a, afar := pair(t)
	b, bfar := pair(t)
	var enough atomic.Bool
	serve(t, g, a, func(*Turn) *Conn {
		if enough.Load() {
			return nil
		}
		a.fire() // before the wait begins
		return a
	})
	serve(t, g, b, echo(b))
	_, _ = afar.Write([]byte("x"))
	say(t, bfar, "hello")
	enough.Store(true)
	bfar.Close()
}

// TestQueue: what comes in goes out in order, and a queue that is never empty
// does not grow for that.
func TestQueue(t *testing.T) {
	var q queue[int]
	in, out := 0, 0
	for range 10 {
		q.push(in)
		in++
	}
	for range 10_000 {
		for range 1 + in%7 {
			q.push(in)
			in++
		}
		for q.len() > 5 {
			if v := q.pop(); v != out {
				t.Fatalf("%d, want %d", v, out)
			}
			out++
		}
	}
	if c := cap(q.items); c > 64 {
		t.Errorf("it has grown to %d", c)
	}
}

// TestInTurn: who works with two connections is called for the one it waits for.
func TestInTurn(t *testing.T) {
	g := group(t, 1)
	client, far := pair(t)
	server, back := pair(t)
	var p [16]byte
	if err := client.Serve(g.Next(), func(*Turn) *Conn {
		n, ok, err := read(client, p[:])
		switch {
		case !ok:
			return client
		case err != nil:
			client.Close()
			server.Close()
			return nil
		}
		server.WriteThenWait(p[:n], nil)
		return server
	}); err != nil {
		t.Fatal(err)
	}
	if err := server.Bind(client.Loop(), func(*Turn) *Conn {
		n, ok, err := read(server, p[:])
		switch {
		case !ok:
			return server
		case err != nil:
			t.Error(err)
			return nil
		}
		client.WriteThenWait(p[:n], nil)
		return client
	}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(back, struct{ io.Reader }{back}) }() // ends with the connection
	for range 100 {
		say(t, far, "ping")
	}
	far.Close()
	_, _ = io.Copy(io.Discard, far)
	back.Close()
}

// TestAfterLeave: who has left the loop waits as before, and comes back.
func TestAfterLeave(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	left := 0
	serve(t, g, c, func(turn *Turn) *Conn {
		var p [4]byte
		_, ok, err := read(c, p[:])
		switch {
		case !ok:
			return c
		case err != nil:
			return nil
		}
		turn.Leave()
		turn.Leave() // is nothing more
		left++
		c.WriteThenWait([]byte("pong"), nil)
		return c
	})
	for range 100 {
		_, _ = far.Write([]byte("ping"))
		b := make([]byte, 4)
		if _, err := io.ReadFull(far, b); err != nil || string(b) != "pong" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

// TestDeadlineAfterClose: a deadline that passes when the loops have ended
// touches nobody's descriptors.
func TestDeadlineAfterClose(t *testing.T) {
	g, err := New(1, clock)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := pair(t)
	if err := c.Bind(g.Next(), nil); err != nil {
		t.Fatal(err)
	}
	g.Close()
	l := c.Loop()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		l.mu.Lock()
		freed := l.freed
		l.mu.Unlock()
		if freed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the loop does not end")
		}
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if len(l.posted) != 0 {
		t.Error("posted to a loop that has ended")
	}
	c.Close()
}

// TestNow: time goes on between events, and for who has left.
func TestNow(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	var first int64
	serve(t, g, c, func(turn *Turn) *Conn {
		if first == 0 {
			first = turn.Now()
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			return c
		}
		second := turn.Now()
		if second <= first || turn.Now() != second {
			t.Errorf("%d, then %d, then %d", first, second, turn.Now())
		}
		turn.Leave()
		if third := turn.Now(); third <= second || turn.Now() == third {
			t.Errorf("%d, then %d after leaving", second, third)
		}
		return nil
	})
	_, _ = far.Write([]byte("x"))
	_, _ = io.Copy(io.Discard, far)
}

func TestDeadline(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	result := make(chan error, 4)
	step := 0
	serve(t, g, c, func(*Turn) *Conn {
		var p [8]byte
		for {
			_, ok, err := read(c, p[:])
			if !ok {
				return c
			}
			step++
			switch step {
			case 1: // the first word
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				continue
			case 2:
				_ = c.SetReadDeadline(time.Time{})
			case 3:
				_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			}
			result <- err
			if step == 4 {
				return nil
			}
		}
	})
	_, _ = far.Write([]byte("x"))
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Unix(1, 0)) // from another goroutine
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("woken: %v", err)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("before the deadline: %v", err)
	}
}

// TestDeadlineBefore: a deadline that passed before the loop had the connection
// counts.
func TestDeadlineBefore(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	serve(t, g, c, func(*Turn) *Conn {
		if !c.Expired() {
			t.Error("called for something else")
		}
		return nil
	})
	if _, err := io.Copy(io.Discard, far); err != nil {
		t.Error(err)
	}
}

// TestOrdinary: a connection goes on as an ordinary one, with its deadline.
func TestOrdinary(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	serve(t, g, c, func(*Turn) *Conn {
		if c.Ordinary() {
			t.Error("ordinary from the beginning")
		}
		if _, err := c.Write(big); err != nil { // longer than any buffer
			t.Error(err)
		}
		if !c.Ordinary() {
			t.Error("not ordinary after a write that waits")
		}
		_, _ = c.Read(make([]byte, 8))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read of %v", err)
		}
		_ = c.CloseWrite()
		return nil
	})
	_, _ = far.Write([]byte("x"))
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestPart: another goroutine has the connection, and the loop goes on.
func TestPart(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	served := make(chan struct{})
	if err := c.Serve(g.Next(), func(*Turn) *Conn {
		if _, err := c.Part(); err != nil {
			t.Error(err)
		}
		go func() {
			defer close(served)
			defer c.Close()
			_, _ = io.Copy(c, struct{ io.Reader }{c})
		}()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	say(t, far, "hello")
	far.Close()
	<-served
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to a closed connection: %v", err)
	}
}

// TestWriteThenWait: what is handed over is written before the wait, and what
// did not fit is told.
func TestWriteThenWait(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "too large": 16 << 20} {
		t.Run(name, func(t *testing.T) {
			g := group(t, 1)
			c, far := pair(t)
			want := bytes.Repeat([]byte("x"), size)
			handed, all, told := false, false, make(chan struct{})
			serve(t, g, c, func(turn *Turn) *Conn {
				if !handed {
					handed = true
					_, _, _ = read(c, make([]byte, 1))
					c.WriteThenWait(want, func() { all = true })
					return c
				}
				took, errno := c.Wrote()
				close(told)
				if all != (took == size) || errno != 0 && errno != syscall.EAGAIN {
					t.Errorf("%d bytes, %v; all: %v", took, errno, all)
				}
				if _, err := c.Write(want[took:]); err != nil {
					t.Error(err)
				}
				_ = c.CloseWrite()
				return nil
			})
			_, _ = far.Write([]byte("a"))
			if size < 100 { // it is called when something comes
				if _, err := io.ReadFull(far, make([]byte, size)); err != nil {
					t.Error(err)
				}
				_, _ = far.Write([]byte("b"))
			}
			<-told // a reader that is fast enough makes room for all of it
			n, err := io.Copy(io.Discard, far)
			if err != nil || size > 100 && n != int64(size) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// BenchmarkEcho is a wait and its end.
func BenchmarkEcho(b *testing.B) {
	g := group(b, 1)
	var ends []net.Conn
	for range 16 {
		c, far := pair(b)
		serve(b, g, c, echo(c))
		ends = append(ends, far)
	}
	b.ReportAllocs()
	var next atomic.Uint32
	b.RunParallel(func(pb *testing.PB) {
		far := ends[int(next.Add(1)-1)%len(ends)]
		_ = far.SetDeadline(time.Time{})
		for pb.Next() {
			say(b, far, "x")
		}
	})
	for _, far := range ends {
		far.Close()
	}
}
