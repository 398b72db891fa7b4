//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// checkUnlocked fails when another process has the database open. etcd itself
// would wait for it without end and without a word.
func checkUnlocked(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "member", "snap", "db"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("etcd data directory: %w", err)
	}
	defer f.Close() // which gives the lock back
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("etcd data directory %s: in use by another process", dir)
		}
		return fmt.Errorf("etcd data directory %s: %w", dir, err)
	}
	return nil
}
