package wire

import (
	"net"
	"syscall"
	"unsafe"

	"sluice/gateway/loop"
)

// The calls below skip the scheduler's bookkeeping around system calls: the
// descriptors are non-blocking, so none of them waits.

// sysRead reads into b; eof is n == 0 without errno.
func sysRead(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

func sysWrite(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

// sysIdle reports whether an unused connection is open and has nothing to read.
func sysIdle(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if e != syscall.EINTR {
			return e == syscall.EAGAIN
		}
	}
}

// sysPeer asks for the state of a TCP connection.
func sysPeer(fd uintptr) peerCondition {
	const closed, closeWait = 7, 8 // TCP_CLOSE, TCP_CLOSE_WAIT
	var state [1]byte              // the first byte of struct tcp_info
	n := uint32(len(state))
	_, _, e := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&n)), 0)
	switch {
	case e != 0:
		return peerOpen
	case state[0] == closed:
		return peerReset
	case state[0] == closeWait:
		return peerClosed
	}
	return peerOpen
}

// rawConn returns the descriptor access of plain TCP and Unix connections, nil
// for all others: a wrapper may hold bytes of its own.
func rawConn(nc net.Conn) syscall.RawConn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		if rc, err := nc.SyscallConn(); err == nil {
			return rc
		}
	case *loop.Conn:
		if rc, err := nc.SyscallConn(); err == nil {
			return rc
		}
	case *net.UnixConn:
		if rc, err := nc.SyscallConn(); err == nil {
			return rc
		}
	}
	return nil
}
