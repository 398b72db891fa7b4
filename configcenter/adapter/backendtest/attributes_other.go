//go:build unix && !linux

package backendtest

import "syscall"

// attributes lets a server run as somebody.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c}
}

// inMemory knows of no folder whose files are in memory.
func inMemory() string { return "" }
