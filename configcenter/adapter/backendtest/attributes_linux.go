package backendtest

import "syscall"

// attributes lets a server run as somebody, and end with the tests even when
// those are killed.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c, Pdeathsig: syscall.SIGKILL}
}
