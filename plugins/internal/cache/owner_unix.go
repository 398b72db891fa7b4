//go:build unix

package cache

import (
	"os"
	"syscall"
)

// openOwn opens a regular file that this user owns and nobody else may write:
// folders for temporary files are open to all users of a machine, and what
// another one has put there must not be sent to clients.
func openOwn(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		f.Close()
		return nil, 0, errForeign
	}
	return f, info.Size(), nil
}
