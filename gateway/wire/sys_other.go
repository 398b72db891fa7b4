//go:build !linux

package wire

import (
	"net"
	"syscall"
)

// Elsewhere every connection takes the plain path, and these are not reached.

func sysRead(uintptr, []byte) (int, syscall.Errno)  { return 0, syscall.ENOSYS }
func sysWrite(uintptr, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func sysIdle(uintptr) bool                          { return true }
func rawConn(net.Conn) syscall.RawConn              { return nil }
func sysPeer(uintptr) peerCondition                 { return peerOpen }
func (s *sending) splice(*upBody) (bool, error)     { return false, nil }
