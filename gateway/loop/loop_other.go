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
	Task  struct{}
	Conn  struct{ net.Conn }
)

func New(int, func() int64) (*Group, error) { return &Group{}, nil }

func (*Group) Close()                        {}
func (*Group) Go(*Conn, func(t *Task)) error { return errors.ErrUnsupported }

func (*Loop) ID() int { return 0 }

func (*Task) Loop() *Loop { return nil }
func (*Task) Later()      {}
func (*Task) Now() int64  { return 0 }
func (*Task) Leave()      {}

func Take(*net.TCPConn) (*Conn, error) { return nil, errors.ErrUnsupported }

func (*Conn) Bind(*Task) error                      { return errors.ErrUnsupported }
func (*Conn) Loop() *Loop                           { return nil }
func (*Conn) Ordinary() bool                        { return true }
func (*Conn) Silent() bool                          { return false }
func (*Conn) WriteThenWait([]byte)                  {}
func (*Conn) Wrote() (int, syscall.Errno)           { return 0, syscall.ENOSYS }
func (c *Conn) Leave() (net.Conn, error)            { return c.Conn, nil }
func (c *Conn) Part() (net.Conn, error)             { return c.Conn, nil }
func (*Conn) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
