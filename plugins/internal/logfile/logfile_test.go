package logfile

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/plugins"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// settled waits until everything that was written is in the file.
func settled(t *testing.T, path, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		b, err := os.ReadFile(path)
		if err == nil && string(b) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the file has %q, want %q: %v", b, want, err)
		}
	}
}

func TestLines(t *testing.T) {
	shared := new(plugins.Shared)
	path := filepath.Join(t.TempDir(), "f.log")
	a, releaseA := Open(shared, path, slog.New(slog.DiscardHandler))
	b, releaseB := Open(shared, path, slog.New(slog.DiscardHandler))
	a.Write([]byte("one"))
	b.Write([]byte("two"))
	releaseA()
	b.Write([]byte("three"))
	releaseB()
	if got := read(t, path); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
	if b.Write([]byte("late")); b.Dropped() != 1 || shared.Len() != 0 {
		t.Errorf("%d dropped, %d values left", b.Dropped(), shared.Len())
	}
}

func TestReopen(t *testing.T) {
	shared := new(plugins.Shared)
	dir := t.TempDir()
	path := filepath.Join(dir, "f.log")
	f, release := Open(shared, path, slog.New(slog.DiscardHandler))
	defer release()
	Reopen(shared) // nothing is open yet
	f.Write([]byte("one"))
	settled(t, path, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	Reopen(shared)
	f.Write([]byte("two"))
	settled(t, path, "two\n")
	if err := os.Remove(path); err != nil { // and nobody says a word
		t.Fatal(err)
	}
	f.Write([]byte("three"))
	settled(t, path, "three\n")
	if got := read(t, path+".1"); got != "one\n" {
		t.Errorf("the old file has %q", got)
	}
}

func TestNoFile(t *testing.T) {
	var text strings.Builder
	path := filepath.Join(t.TempDir(), "none", "f.log")
	f, release := Open(new(plugins.Shared), path, slog.New(slog.NewTextHandler(&text, nil)))
	f.Write([]byte("one"))
	release()
	if !strings.Contains(text.String(), "failed to open file: "+path+", error info: ") || f.Dropped() != 1 {
		t.Errorf("%d dropped: %s", f.Dropped(), text.String())
	}
}

// TestBounded: what the disk does not keep up with is dropped, and that is said
// once each time, whatever went wrong before.
func TestBounded(t *testing.T) {
	var text strings.Builder
	f := newFile(filepath.Join(t.TempDir(), "none", "f.log"), slog.New(slog.NewTextHandler(&text, nil)))
	f.Write([]byte("no folder"))
	for n := range 2 {
		f.writing = true // and never comes to an end
		f.Write(make([]byte, maxPending))
		f.Write([]byte("more"))
		f.Write([]byte("and more"))
		if got := strings.Count(text.String(), "the disk is too slow"); f.Dropped() != uint64(1+n*3+2) || got != n+1 {
			t.Errorf("%d dropped, said %d times", f.Dropped(), got)
		}
		f.flush() // which drops the line that fitted
	}
	f.close()
	f.Write([]byte("late"))
	if !strings.Contains(text.String(), "error info: it is closed") {
		t.Errorf("%s", text.String()[max(0, text.Len()-200):])
	}
}

func TestMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.log")
	f, release := Open(new(plugins.Shared), path, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				f.Write([]byte("line"))
			}
		})
	}
	wg.Wait()
	release()
	if got := read(t, path); got != strings.Repeat("line\n", 1600) {
		t.Errorf("%d bytes", len(got))
	}
}

func BenchmarkWrite(b *testing.B) {
	f, release := Open(new(plugins.Shared), filepath.Join(b.TempDir(), "f.log"), slog.New(slog.DiscardHandler))
	defer release()
	line := []byte(strings.Repeat("x", 500))
	b.ReportAllocs()
	for b.Loop() {
		f.Write(line)
	}
}
