package adapter

import (
	"net"
	"sync"
)

// conns is a listener that knows its open connections.
type conns struct {
	net.Listener

	mu   sync.Mutex
	open map[*accepted]bool // nil: no more are taken
}

type accepted struct {
	net.Conn
	of *conns
}

func (l *conns) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		c.Close()
		return nil, net.ErrClosed
	}
	known := &accepted{c, l}
	l.open[known] = true
	return known, nil
}

// closeAll closes the connections, and those that may still come.
func (l *conns) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.Conn.Close()
	}
	l.open = nil
}

func (c *accepted) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	delete(c.of.open, c)
	return c.Conn.Close()
}
