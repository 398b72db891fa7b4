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

// pair is a connection and its other end.
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

// start runs f as a task, which closes c at its end.
func start(t testing.TB, g *Group, c *Conn, f func(*Task)) {
	done := make(chan struct{})
	t.Cleanup(func() { // before the group is closed
		if far, ok := ends.LoadAndDelete(c); ok {
			far.(net.Conn).Close()
		}
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("a task does not end")
		}
	})
	if err := g.Go(c, func(task *Task) {
		defer close(done)
		defer c.Close()
		f(task)
	}); err != nil {
		t.Fatal(err)
	}
}

// read is one read of c as a task.
func read(c *Conn, p []byte) (n int, err error) {
	rc, _ := c.SyscallConn()
	var errno error
	err = rc.Read(func(fd uintptr) bool {
		n, errno = syscall.Read(int(fd), p)
		return errno != syscall.EAGAIN
	})
	if err == nil {
		err = errno
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// echo gives back what comes, until the end.
func echo(c *Conn) {
	var p [4 << 10]byte
	for {
		n, err := read(c, p[:])
		if err != nil {
			return
		}
		rc, _ := c.SyscallConn()
		_ = rc.Control(func(fd uintptr) { _, _ = syscall.Write(int(fd), p[:n]) })
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

// TestTasks: many tasks on two loops, each served by its own connection.
func TestTasks(t *testing.T) {
	g := group(t, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 50 {
		c, far := pair(t)
		start(t, g, c, func(*Task) { echo(c) })
		wg.Go(func() {
			defer far.Close()
			for range 50 {
				say(t, far, "hello")
			}
		})
	}
}

// TestOthersGoOn: a task that leaves, or blocks without a word, keeps nobody.
func TestOthersGoOn(t *testing.T) {
	for name, leave := range map[string]bool{"leaves": true, "blocks": false} {
		t.Run(name, func(t *testing.T) {
			g := group(t, 1)
			a, afar := pair(t)
			b, bfar := pair(t)
			in, out := make(chan bool), make(chan bool)
			start(t, g, a, func(task *Task) {
				if leave {
					task.Leave()
				}
				close(in)
				<-out
				echo(a)
			})
			start(t, g, b, func(*Task) { echo(b) })
			<-in
			say(t, bfar, "while the other waits")
			close(out)
			say(t, afar, "and back on the loop")
			afar.Close()
			bfar.Close()
		})
	}
}

// TestMonitorWakes: after a long rest too, a task that blocks is seen.
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
	start(t, g, a, func(*Task) { <-out })
	start(t, g, b, func(*Task) { echo(b) })
	say(t, bfar, "hello")
	close(out)
	afar.Close()
	bfar.Close()
}

// TestLater: those who are ready come first.
func TestLater(t *testing.T) {
	g := group(t, 1)
	var order []string
	var all sync.WaitGroup
	all.Add(2)
	gate, gateFar := pair(t)
	a, _ := pair(t)
	b, _ := pair(t)
	start(t, g, gate, func(*Task) {
		for _, c := range []*Conn{a, b} {
			start(t, g, c, func(task *Task) {
				defer all.Done()
				order = append(order, "begin")
				task.Later()
				order = append(order, "end")
			})
		}
	})
	all.Wait()
	if len(order) != 4 || order[0] != "begin" || order[1] != "begin" {
		t.Errorf("%v: one did not wait for the other", order)
	}
	gateFar.Close()
}

// TestLaterIsFair: a task that always has something to do does not keep those
// from the loop that wait for an event.
func TestLaterIsFair(t *testing.T) {
	g := group(t, 1)
	a, afar := pair(t)
	b, bfar := pair(t)
	var enough atomic.Bool
	start(t, g, a, func(task *Task) {
		for !enough.Load() {
			task.Later()
		}
	})
	start(t, g, b, func(*Task) { echo(b) })
	say(t, bfar, "hello")
	enough.Store(true)
	afar.Close()
	bfar.Close()
}

// TestAfterLeave: a task that has left its loop writes, gets behind and waits
// as before, and comes back.
func TestAfterLeave(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	start(t, g, c, func(task *Task) {
		rc, _ := c.SyscallConn()
		var p [16]byte
		for range 100 {
			task.Leave()
			task.Later()
			handed, n := false, 0
			_ = rc.Read(func(fd uintptr) bool {
				if !handed {
					handed = true
					c.WriteThenWait([]byte("ping"))
					return false
				}
				n, _ = syscall.Read(int(fd), p[:])
				return n > 0
			})
			if string(p[:n]) != "pong" {
				t.Errorf("%q", p[:n])
			}
		}
	})
	for range 100 {
		b := make([]byte, 4)
		if _, err := io.ReadFull(far, b); err != nil || string(b) != "ping" {
			t.Fatalf("%q, %v", b, err)
		}
		_, _ = far.Write([]byte("pong"))
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
	done := make(chan struct{})
	if err := g.Go(c, func(*Task) { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
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
	c, _ := pair(t)
	ran := make(chan struct{})
	start(t, g, c, func(task *Task) {
		defer close(ran)
		first := task.Now()
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // a wait, whatever comes
		_, _ = read(c, make([]byte, 1))
		second := task.Now()
		if second <= first || task.Now() != second {
			t.Errorf("%d, then %d, then %d", first, second, task.Now())
		}
		task.Leave()
		if third := task.Now(); third <= second || task.Now() == third {
			t.Errorf("%d, then %d after the task has left", second, third)
		}
	})
	<-ran
}

func TestDeadline(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	result := make(chan error, 4)
	in := make(chan bool)
	start(t, g, c, func(*Task) {
		var p [8]byte
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := read(c, p[:])
		result <- err
		_ = c.SetReadDeadline(time.Time{})
		close(in)
		_, err = read(c, p[:])
		result <- err
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = read(c, p[:])
		result <- err
	})
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	<-in
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

// TestOrdinary: a connection goes on as an ordinary one, with its deadline.
func TestOrdinary(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	start(t, g, c, func(*Task) {
		if c.Ordinary() {
			t.Error("ordinary from the beginning")
		}
		if _, err := c.Write(big); err != nil { // longer than any buffer
			t.Error(err)
		}
		if !c.Ordinary() {
			t.Error("not ordinary after a write that waits")
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := read(c, make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read of %v", err)
		}
		_ = c.CloseWrite()
	})
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestPart: the task ends, and another goroutine has the connection.
func TestPart(t *testing.T) {
	g := group(t, 1)
	c, far := pair(t)
	served := make(chan struct{})
	if err := g.Go(c, func(*Task) {
		if _, err := c.Part(); err != nil {
			t.Error(err)
		}
		go func() {
			defer close(served)
			defer c.Close()
			_, _ = io.Copy(c, struct{ io.Reader }{c})
		}()
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
			start(t, g, c, func(*Task) {
				rc, _ := c.SyscallConn()
				handed, took := false, 0
				_ = rc.Read(func(fd uintptr) bool {
					if !handed {
						handed = true
						c.WriteThenWait(want)
						return false
					}
					took, _ = c.Wrote()
					return true
				})
				if _, err := c.Write(want[took:]); err != nil {
					t.Error(err)
				}
				_ = c.CloseWrite()
			})
			if size < 100 { // the task looks when something comes
				b := make([]byte, size)
				if _, err := io.ReadFull(far, b); err != nil {
					t.Error(err)
				}
				_, _ = far.Write([]byte("y"))
				return
			}
			n, err := io.Copy(io.Discard, far)
			if err != nil || n != int64(size) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// TestAnotherLoop: a connection moves to the loop of the task that takes it.
func TestAnotherLoop(t *testing.T) {
	g := group(t, 2)
	shared, far := pair(t)
	handed := make(chan bool)
	a, afar := pair(t)
	start(t, g, a, func(task *Task) {
		if err := shared.Bind(task); err != nil {
			t.Error(err)
		}
		_, _ = read(shared, make([]byte, 1))
		close(handed)
	})
	_, _ = far.Write([]byte("1"))
	<-handed
	b, bfar := pair(t)
	start(t, g, b, func(task *Task) {
		defer shared.Close()
		before := shared.Loop()
		if err := shared.Bind(task); err != nil {
			t.Error(err)
		}
		if shared.Loop() == before {
			t.Error("both tasks have the same loop")
		}
		echo(shared)
	})
	say(t, far, "hello")
	far.Close()
	afar.Close()
	bfar.Close()
}

func TestClosed(t *testing.T) {
	g := group(t, 1)
	g.Close()
	c, _ := pair(t)
	defer c.Close()
	if err := g.Go(c, func(*Task) { t.Error("runs") }); err == nil {
		t.Error("a closed group takes tasks")
	}
}

// BenchmarkEcho is a wait and its end.
func BenchmarkEcho(b *testing.B) {
	g := group(b, 1)
	var ends []net.Conn
	for range 16 {
		c, far := pair(b)
		start(b, g, c, func(*Task) { echo(c) })
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
