//go:build unix

package memory

import (
	"os"
	"syscall"
)

// lock fails when another process has the file; it ends with f.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
