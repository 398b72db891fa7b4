package memory

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sluice/configcenter/adapter/mvcc"
)

// A disk that is full is told from one that fails.
func TestDiskFull(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.log.f.Close()
	s.log.f = full
	if err := put(s, "a", "1"); !errors.Is(err, mvcc.ErrNoSpace) {
		t.Errorf("got %v, want that there is no space", err)
	}
}
