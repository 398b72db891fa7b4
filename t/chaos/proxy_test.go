package chaos

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is the network between two processes. It can cut, hold and slow down
// what passes, and keep single members of a cluster out.
type proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu      sync.Mutex
	refuse  bool
	held    chan struct{} // not nil: bytes stand still until it is closed
	delay   time.Duration // of each piece
	without []byte        // header field of connections that are refused
	conns   map[net.Conn]bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: target, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.release()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.join(in) })
	}
}

// join connects in with the target.
func (p *proxy) join(in net.Conn) {
	defer in.Close()
	if !p.enter(in) {
		return
	}
	defer p.leave(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !p.enter(out) {
		return
	}
	defer p.leave(out)
	var both sync.WaitGroup
	both.Go(func() { p.pump(out, in, true) })
	both.Go(func() { p.pump(in, out, false) })
	both.Wait()
}

func (p *proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// pump copies until one side ends; then both do.
func (p *proxy) pump(to, from net.Conn, request bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		held, delay, without := p.held, p.delay, p.without
		p.mu.Unlock()
		if request && without != nil && bytes.Contains(buf[:n], without) {
			return
		}
		if delay > 0 {
			<-time.After(delay)
		}
		if held != nil {
			<-held
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hold lets nothing pass, but keeps connections: a network that drops packets.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = make(chan struct{})
}

// release ends hold and slow.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = 0
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// cut closes all connections and refuses new ones until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	p.closeAll()
}

func (p *proxy) closeAll() {
	for c := range p.conns {
		c.Close()
	}
}

// mend ends cut and exclude.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.without = false, nil
}

// exclude refuses connections that have a text in their header.
func (p *proxy) exclude(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.without = []byte(text)
	p.closeAll()
}
