package lastgood

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/memory"
	"sluice/configcenter/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty is a store that is down until it is brought up.
type faulty struct {
	*memory.Center
	up chan struct{}
	// hangs: it does not even say that it is down
	hangs bool
}

var errDown = errors.New("store is down")

func (f *faulty) Watch(ctx context.Context) iter.Seq2[configcenter.Batch, error] {
	return func(yield func(configcenter.Batch, error) bool) {
		select {
		case <-f.up:
		default:
			if !f.hangs && !yield(configcenter.Batch{}, errDown) {
				return
			}
			select {
			case <-f.up:
			case <-ctx.Done():
				return
			}
		}
		for b, err := range f.Center.Watch(ctx) {
			if !yield(b, err) {
				return
			}
		}
	}
}

func (f *faulty) comeUp() { close(f.up) }

func broken(c *memory.Center) *faulty { return &faulty{Center: c, up: make(chan struct{})} }

// log is a text that a logger writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func options(l *log) Options {
	return Options{Prefix: "/apisix", Interval: time.Millisecond, Patience: 50 * time.Millisecond,
		Cluster: func() uint64 { return 7 }, Log: slog.New(slog.NewTextHandler(l, nil))}
}

// written follows a store with two routes until they are on disk.
func written(t *testing.T) (path string, c *memory.Center) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lastgood")
	c = memory.New("/apisix")
	contract.Put(t, c, "1", "one")
	contract.Put(t, c, "2", "two")
	f := contract.Follow(t, New(path, c, options(&log{})))
	f.AwaitLen(2)
	f.Stop()
	return path, c
}

func TestServesFromDiskAndCatchesUp(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		path, c := written(t)
		inner, text := broken(c), &log{}
		inner.hangs = hangs
		s := New(path, inner, options(text))
		f := contract.Follow(t, s)
		f.AwaitLen(2)
		if st := s.Status(); st.Origin != Disk || st.Rev != 2 {
			t.Errorf("status %+v", st)
		}
		if !strings.Contains(text.String(), "serving the last good configuration from disk") {
			t.Error(text.String())
		}
		var before *configcenter.Item
		f.Await("from disk", func(snap *configcenter.Snapshot, _ int, _ []error) bool {
			before = snap.Get(resource.Routes, "1")
			return before != nil
		})
		contract.Put(t, c, "2", "changed")
		inner.comeUp()
		f.AwaitRoute("2", "changed")
		f.Await("same pointer", func(snap *configcenter.Snapshot, _ int, _ []error) bool {
			return snap.Get(resource.Routes, "1") == before
		})
		if st := s.Status(); st.Origin != Store || st.Rev != 3 || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	}
}

// A store that comes back with nothing takes nothing away from who serves from
// disk, until it has something.
func TestStoreComesBackEmpty(t *testing.T) {
	path, _ := written(t)
	empty := memory.New("/apisix")
	inner := broken(empty)
	s := New(path, inner, options(&log{}))
	f := contract.Follow(t, s)
	f.AwaitLen(2)
	inner.comeUp()
	f.Await("the empty store is seen", func(*configcenter.Snapshot, int, []error) bool { return errors.Is(s.Status().Err, errEmptied) })
	f.AwaitLen(2)
	if st := s.Status(); st.Origin != Disk {
		t.Errorf("status %+v", st)
	}
	contract.Put(t, empty, "3", "new")
	f.AwaitRoute("3", "new")
	f.AwaitLen(1)
	if st := s.Status(); st.Origin != Store || st.Err != nil {
		t.Errorf("status %+v", st)
	}
}

// What a killed writer left is removed, once it is old.
func TestTidy(t *testing.T) {
	path, c := written(t)
	old, fresh := path+".1.tmp", path+".2.tmp"
	for _, name := range []string{old, fresh} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	f := contract.Follow(t, New(path, c, options(&log{})))
	f.AwaitLen(2)
	f.Stop()
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", old, err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error(err)
	}
}

// A store that was restored from a backup has smaller revisions.
func TestRestoredStore(t *testing.T) {
	path, _ := written(t)
	older := memory.New("/apisix")
	contract.Put(t, older, "1", "restored")
	inner := broken(older)
	f := contract.Follow(t, New(path, inner, options(&log{})))
	f.AwaitLen(2)
	inner.comeUp()
	f.AwaitLen(1)
	f.AwaitRoute("1", "restored")
}

func TestBadFilesAreIgnored(t *testing.T) {
	path, _ := written(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty":   {},
		"other":   []byte(strings.Repeat("something else\n", 20)),
		"cut":     good[:len(good)-1],
		"longer":  append(bytes.Clone(good), 0),
		"flipped": flip(good, len(good)/2),
		"header":  flip(good, len(magic)),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		inner, text := broken(memory.New("/apisix")), &log{}
		f := contract.Follow(t, New(path, inner, options(text)))
		f.Await("error", func(_ *configcenter.Snapshot, full int, errs []error) bool { return full == 0 && len(errs) == 1 })
		f.Stop()
		if !strings.Contains(text.String(), "cannot be used") || !strings.Contains(text.String(), path) {
			t.Errorf("%s: no clear warning: %s", name, text.String())
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(&log{})
	o.Prefix = "/other"
	f := contract.Follow(t, New(path, broken(memory.New("/other")), o))
	f.Await("error", func(_ *configcenter.Snapshot, full int, errs []error) bool { return full == 0 && len(errs) == 1 })
}

func flip(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1
	return out
}

func TestEmptiedStoreKeepsTheLastOne(t *testing.T) {
	path, _ := written(t)
	f := contract.Follow(t, New(path, memory.New("/apisix"), options(&log{})))
	f.Await("empty", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 1 })
	f.Stop()
	v, err := Read(path + ".before-empty")
	if err != nil || len(v.Changes) != 2 {
		t.Errorf("%d objects, %v", len(v.Changes), err)
	}
	if v, err := Read(path); err != nil || len(v.Changes) != 0 {
		t.Errorf("%d objects, %v", len(v.Changes), err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	want := Version{Prefix: "/p", Cluster: 1<<64 - 1, Rev: 9, Written: time.Unix(1, 0).UTC(), Changes: []configcenter.Change{
		{Kind: resource.PluginList, Value: []byte{}, Create: -1, Mod: 2},
		{Kind: resource.Routes, ID: "a/b", Value: []byte("not even JSON \x00\xff"), Create: 1, Mod: 1 << 40}}}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := Write(filepath.Join(path, "below"), want); err == nil {
		t.Error("no error for a folder that is a file")
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Many changes make few writes, and the last one is written in the end.
func TestWritesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	c := memory.New("/apisix")
	o := options(&log{})
	o.Interval = time.Hour
	s := New(path, c, o)
	f := contract.Follow(t, s)
	f.Await("first", func(_ *configcenter.Snapshot, full int, _ []error) bool { return full == 1 })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Status().Written.IsZero() {
		<-tick.C
	}
	for range 100 {
		contract.Put(t, c, "1", "x")
	}
	contract.Put(t, c, "1", "last")
	f.AwaitRoute("1", "last")
	if v, err := Read(path); err != nil || v.Rev != 0 {
		t.Errorf("revision %d was written at once", v.Rev)
	}
	f.Stop()
	if v, err := Read(path); err != nil || len(v.Changes) != 1 || v.Rev != 101 {
		t.Errorf("%+v, %v", v, err)
	}
}

// The file follows the store through every kind of change, and is made anew
// from the store when somebody removes or damages it.
func TestFileFollowsTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	c := memory.New("/apisix")
	for _, id := range []string{"b", "d", "f"} {
		contract.Put(t, c, id, "first")
	}
	s := New(path, c, options(&log{}))
	f := contract.Follow(t, s)
	f.AwaitLen(3)
	steps := []func(){
		func() { contract.Put(t, c, "a", "x") },
		func() { contract.Put(t, c, "d", "changed") },
		func() { _ = c.Delete(t.Context(), resource.Routes, "b") },
		func() { contract.Put(t, c, "g", "x"); contract.Put(t, c, "c", "x") },
		func() { os.Remove(path); contract.Put(t, c, "a", "y") },
		func() { os.WriteFile(path, []byte(magic), 0o600); contract.Put(t, c, "a", "z") },
		func() { _ = c.Delete(t.Context(), resource.Routes, "g"); contract.Put(t, c, "g", "again") },
	}
	for i, step := range steps {
		awaitFile(t, path, c)
		step()
		if t.Failed() {
			t.Fatalf("before step %d", i)
		}
	}
	awaitFile(t, path, c)
	f.Stop()
	awaitFile(t, path, c)
}

// awaitFile waits until the file holds what the store does.
func awaitFile(t *testing.T, path string, c *memory.Center) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		want, err := c.List(t.Context(), resource.Routes)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Read(path)
		if err == nil && reflect.DeepEqual(v.Changes, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("file %+v, %v; store %+v", v.Changes, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	path := filepath.Join(f.TempDir(), "f")
	if err := Write(path, Version{Prefix: "/p", Changes: []configcenter.Change{{Kind: resource.Routes, ID: "1", Value: []byte("{}")}}}); err != nil {
		f.Fatal(err)
	}
	good, _ := os.ReadFile(path)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decode(bytes.NewReader(b), int64(len(b)), func(configcenter.Change) {}); err == nil && !bytes.Equal(b[:len(magic)], []byte(magic)) {
			t.Errorf("%+v", v)
		}
	})
}

func BenchmarkWrite100k(b *testing.B) {
	v := Version{}
	for range 100_000 {
		v.Changes = append(v.Changes, configcenter.Change{Kind: resource.Routes, ID: "r012345", Value: bytes.Repeat([]byte("x"), 180), Create: 1, Mod: 2})
	}
	path := filepath.Join(b.TempDir(), "f")
	for b.Loop() {
		if err := Write(path, v); err != nil {
			b.Fatal(err)
		}
	}
}
