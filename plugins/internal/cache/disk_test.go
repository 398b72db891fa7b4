package cache

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

func diskZone(t testing.TB, path string, size int64, c *clock) *Zone {
	z := New(Options{Name: "d", Memory: 1 << 20, Path: path, Disk: size, Levels: []int{1, 2}, Now: c.now, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(z.Close)
	return z
}

func ready(t testing.TB, z *Zone) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); z.disk.cold.Load(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("files are still being found")
		}
	}
}

// files are those below path.
func files(t testing.TB, path string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var long = strings.Repeat("0123456789abcdef", inOneGo/8) // twice as long as what is read at once

// TestRestart: what was stored is there for the next process, also before all
// files were found.
func TestRestart(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "zone"), &clock{time.Now()}
	z := diskZone(t, dir, 10<<20, c)
	keep(t, z, "plain", get(), "hello")
	keep(t, z, "long", get(), long)
	keep(t, z, "empty", get(), "")
	keep(t, z, "varied", get("X", "1"), "one", "x")
	keep(t, z, "varied", get("X", "2"), "two", "x")
	keep(t, z, "purged", get(), "gone")
	if !z.Purge([]byte("purged")) {
		t.Error("not purged")
	}
	keep(t, z, "plain", get(), "hello again")
	z.Close()
	list := files(t, dir)
	if len(list) != 5 {
		t.Fatalf("%q", list)
	}
	for _, path := range list {
		rel, _ := filepath.Rel(dir, path)
		name := filepath.Base(path)
		if want := filepath.Join(name[31:32], name[29:31], name); rel != want {
			t.Errorf("%s is not at %s", rel, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	for _, cold := range []bool{true, false} {
		z := diskZone(t, dir, 10<<20, c)
		if !cold {
			ready(t, z)
		}
		for _, want := range []struct {
			key  string
			r    *wire.Request
			body string
		}{{"plain", get(), "hello again"}, {"long", get(), long}, {"varied", get("X", "1"), "one"}, {"varied", get("X", "2"), "two"}, {"varied", get(), ""}, {"purged", get(), ""}} {
			if got := found(t, z, want.key, want.r); got != want.body {
				t.Errorf("%s: %d bytes, want %d", want.key, len(got), len(want.body))
			}
		}
		e, _ := z.Find([]byte("long"), get(), "")
		if got := bodyOf(t, z, e, 70000, 5); got != long[70000:70005] || e.Header.Get("Content-Type") != "text/plain" || e.Stored != c.t.UnixNano() {
			t.Errorf("part %q of %+v", got, e)
		}
		ready(t, z)
		if n, _, disk := z.Used(); n != 5 || disk < int64(len(long)) {
			t.Errorf("%d entries, %d bytes", n, disk)
		}
		z.Close()
	}
	z = diskZone(t, dir, 10<<20, c)
	if !z.Purge([]byte("plain")) {
		t.Error("a file that was not found yet could not be purged")
	}
	ready(t, z)
	if got := found(t, z, "plain", get()); got != "" || len(files(t, dir)) != 4 {
		t.Errorf("%q came back", got)
	}
}

// TestDamaged: a file that is not what was written is no answer, and removed.
func TestDamaged(t *testing.T) {
	change := func(at int) func(string, []byte) error {
		return func(path string, b []byte) error {
			b[(at+len(b))%len(b)] ^= 1
			return os.WriteFile(path, b, 0o600)
		}
	}
	for name, damage := range map[string]func(path string, b []byte) error{
		"magic": change(0), "length": change(9), "sum": change(13), "body sum": change(17), "head": change(30), "key": change(80), "body": change(-1),
		"cut":     func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)-1], 0o600) },
		"empty":   func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"longer":  func(path string, b []byte) error { return os.WriteFile(path, append(b, 0), 0o600) },
		"removed": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		for _, body := range []string{"hello", long} {
			for _, restart := range []bool{false, true} {
				dir, c := t.TempDir(), &clock{time.Now()}
				z := diskZone(t, dir, 10<<20, c)
				ready(t, z)
				keep(t, z, "k", get(), body)
				if restart {
					z.Close()
				}
				path := files(t, dir)[0]
				b, err := os.ReadFile(path)
				if err == nil {
					err = damage(path, b)
				}
				if err != nil {
					t.Fatal(err)
				}
				if restart {
					z = diskZone(t, dir, 10<<20, c)
					ready(t, z)
				}
				if got := found(t, z, "k", get()); got != "" {
					t.Errorf("%s: %d bytes", name, len(got))
				}
				if n, memory, disk := z.Used(); n != 0 || memory != 0 || disk != 0 || len(files(t, dir)) != 0 {
					t.Errorf("%s: %d entries and %q are left", name, n, files(t, dir))
				}
				keep(t, z, "k", get(), body)
				if got := found(t, z, "k", get()); got != body {
					t.Errorf("%s: not stored again", name)
				}
				z.Close()
			}
		}
	}
}

// TestForeign: files that we did not write stay, and are not sent to anyone.
func TestForeign(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	z := diskZone(t, dir, 10<<20, c)
	keep(t, z, "k", get(), "hello")
	z.Close()
	path := files(t, dir)[0]
	name := filepath.Base(path)
	if err := os.Chmod(path, 0o666); err != nil { // anyone could have written it
		t.Fatal(err)
	}
	others := []string{"README", name[:32], "x/" + name + ".bak", strings.ToUpper(name)}
	for _, other := range others {
		other = filepath.Join(dir, other)
		if err := os.MkdirAll(filepath.Dir(other), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, name[:33]+"0123456789abcdef")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	z = diskZone(t, dir, 10<<20, c)
	if got := found(t, z, "k", get()); got != "" {
		t.Errorf("%q", got)
	}
	ready(t, z)
	if n, _, _ := z.Used(); n != 0 || len(files(t, dir)) != len(others)+2 {
		t.Errorf("%d entries, %q", n, files(t, dir))
	}
}

// TestDiskBound: no more than the size lies on disk, also after a restart with
// a smaller one, and nothing is left of what was not stored.
func TestDiskBound(t *testing.T) {
	const size = 20 * blockSize
	dir, c := t.TempDir(), &clock{time.Now()}
	z := diskZone(t, dir, size, c)
	ready(t, z)
	keep(t, z, "wanted", get(), "w")
	for i := range 100 {
		c.t = c.t.Add(time.Second)
		keep(t, z, fmt.Sprint(i), get(), "hello")
		if found(t, z, "wanted", get()) == "" {
			t.Fatalf("gone after %d others", i)
		}
		if _, _, disk := z.Used(); disk > size {
			t.Fatalf("%d bytes", disk)
		}
	}
	keepWith(t, z, ticket(z, "short"), "short", get(), strings.NewReader("abc"), 4)
	keepWith(t, z, ticket(z, "failed"), "failed", get(), io.MultiReader(strings.NewReader("abc"), failing{}), -1)
	keepWith(t, z, ticket(z, "large"), "large", get(), strings.NewReader(long), -1)
	keepWith(t, z, ticket(z, "larger"), "larger", get(), strings.NewReader(long), int64(len(long)))
	old := ticket(z, "purged")
	z.Purge([]byte("purged"))
	keepWith(t, z, old, "purged", get(), strings.NewReader("abc"), 3)
	if n := len(files(t, dir)); n != 20 || z.filling.Load() != 0 {
		t.Errorf("%d files, %d bytes on their way", n, z.filling.Load())
	}
	z.Close()
	z = diskZone(t, dir, size/2, c)
	ready(t, z)
	if n, _, disk := z.Used(); n != 10 || disk != size/2 || len(files(t, dir)) != 10 {
		t.Errorf("%d entries, %d bytes, %d files", n, disk, len(files(t, dir)))
	}
}

// TestInactive: what nobody asks for goes, and so do leftovers.
func TestInactive(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	leftover := filepath.Join(dir, strings.Repeat("0", 32)+"."+strings.Repeat("0", 16)+temporary)
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	z := diskZone(t, dir, 10<<20, c)
	ready(t, z)
	if len(files(t, dir)) != 1 {
		t.Error("the file of another gateway was removed")
	}
	keep(t, z, "used", get(), "hello")
	keep(t, z, "unused", get(), "hello")
	for range 3 {
		c.t = c.t.Add(20 * time.Hour)
		if found(t, z, "used", get()) == "" {
			t.Error("gone while in use")
		}
		z.sweep()
	}
	if n, _, _ := z.Used(); n != 1 || found(t, z, "unused", get()) != "" {
		t.Errorf("%d entries", n)
	}
	z.Close()
	z = diskZone(t, dir, 10<<20, c)
	ready(t, z)
	if list := files(t, dir); len(list) != 1 || list[0] == leftover {
		t.Errorf("%q", list)
	}
}

// TestNoDisk: without a folder everything passes, and nothing is stored.
func TestNoDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	z := diskZone(t, filepath.Join(file, "zone"), 1<<20, &clock{time.Now()})
	keep(t, z, "k", get(), "hello")
	if got := found(t, z, "k", get()); got != "" || z.Purge([]byte("k")) {
		t.Errorf("%q", got)
	}
}

func BenchmarkDisk(b *testing.B) {
	z := diskZone(b, b.TempDir(), 100<<20, &clock{time.Now()})
	ready(b, z)
	keep(b, z, "k", get(), strings.Repeat("x", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if found(b, z, "k", get()) == "" {
			b.Fatal("not found")
		}
	}
}

func FuzzHead(f *testing.F) {
	e := &Entry{Status: 200, Length: 5, key: "key", vary: []string{"a", "b"}, mark: mark{1}}
	e.Header.Add("Name", "value")
	f.Add(e.appendHead(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseHead(b)
		if err != nil {
			return
		}
		again, err := parseHead(e.appendHead(nil))
		if err != nil || again.key != e.key || again.Header.Len() != e.Header.Len() {
			t.Errorf("%+v, %+v, %v", e, again, err)
		}
	})
}
