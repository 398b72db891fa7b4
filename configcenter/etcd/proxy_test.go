package etcd

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy is a TCP proxy in front of a server that comes and goes. Its own port
// stays: one that was given back could be anybody's the next moment.
type proxy struct {
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	conf   *tls.Config // nil: plain connections
	target string      // "": connections are closed at once
	conns  []net.Conn
	frozen chan struct{} // closed: bytes stand still
}

func newProxy(t testing.TB, url string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l}
	if url != "" {
		p.to(url)
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// listen opens a port of its own.
func listen(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (p *proxy) url() string { return "http://" + p.l.Addr().String() }

// to lets connections through to a server.
func (p *proxy) to(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target, p.frozen = strings.TrimPrefix(url, "http://"), make(chan struct{})
}

// serve speaks TLS to clients.
func (p *proxy) serve(c *tls.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conf = c
}

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.join(in)
		p.mu.Unlock()
	}
}

// join connects in with the target, under the lock.
func (p *proxy) join(in net.Conn) {
	if p.target == "" {
		in.Close()
		return
	}
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		in.Close()
		return
	}
	if p.conf != nil {
		in = tls.Server(in, p.conf)
	}
	frozen := p.frozen
	p.conns = append(p.conns, in, out)
	p.wg.Go(func() { pump(in, out, frozen) })
	p.wg.Go(func() { pump(out, in, frozen) })
}

// pump copies until one side ends; then both do. Frozen, it swallows.
func pump(to, from net.Conn, frozen <-chan struct{}) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-frozen:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// freeze keeps the connections, but nothing passes any more.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
}

// cut closes all connections; new ones are closed at once.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = ""
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
