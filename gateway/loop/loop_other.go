//go:build !linux

package loop

import (
	"errors"
	"net"
	"syscall"
)

// Elsewhere there are no loops: Take refuses every connection, and nothing else
// here is reached.

type (
	Group struct{}
	Loop  struct{}
	Turn  struct{}
	Conn  struct{ net.Conn }
	Ready func(t *Turn) *Conn
)

func New(int, func() int64) (*Group, error) { return &Group{}, nil }

func (*Group) Close()      {}
func (*Group) Next() *Loop { return nil }

func (*Loop) ID() int { return 0 }

func (*Turn) Now() int64 { return 0 }
func (*Turn) Leave()     {}

func Take(*net.TCPConn) (*Conn, error) { return nil, errors.ErrUnsupported }

func (*Conn) Serve(*Loop, Ready) error              { return errors.ErrUnsupported }
func (*Conn) Bind(*Loop, Ready) error               { return errors.ErrUnsupported }
func (*Conn) Loop() *Loop                           { return nil }
func (*Conn) Under(*Turn)                           {}
func (*Conn) Fd() int                               { return -1 }
func (*Conn) Expired() bool                         { return false }
func (*Conn) Ordinary() bool                        { return true }
func (*Conn) Silent() bool                          { return false }
func (*Conn) WriteThenWait([]byte, func())          {}
func (*Conn) Wrote() (int, syscall.Errno)           { return 0, syscall.ENOSYS }
func (c *Conn) Leave() (net.Conn, error)            { return c.Conn, nil }
func (c *Conn) Part() (net.Conn, error)             { return c.Conn, nil }
func (*Conn) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
