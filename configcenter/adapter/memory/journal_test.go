package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/configcenter/adapter/mvcc"
)

func put(s *Store, key, value string) error {
	return s.Update(context.Background(), func(tx mvcc.WriteTx) error {
		rev := tx.State().Rev + 1
		return tx.Append(mvcc.Row{Rev: rev, Key: []byte(key), Value: []byte(value), Create: rev, Version: 1})
	})
}

// show is everything that can be read.
func show(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	err := s.View(t.Context(), func(tx mvcc.Tx) error {
		rows, err := tx.Since(0)
		for _, r := range rows {
			fmt.Fprintf(&b, "%d.%d %s=%s lease %d deleted %v\n", r.Rev, r.Sub, r.Key, r.Value, r.Lease, r.Deleted)
		}
		ls, _ := tx.Leases(0)
		for _, l := range ls {
			keys, _ := tx.LeaseKeys(l.ID)
			fmt.Fprintf(&b, "lease %d %v %q\n", l.ID, l.TTL, keys)
		}
		note, _ := tx.Note("n")
		fmt.Fprintf(&b, "note %s, compact %d, revision %d", note, tx.State().Compact, tx.State().Rev)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fillStore makes each kind of record.
func fillStore(t *testing.T, s *Store) {
	t.Helper()
	for _, f := range []func(mvcc.WriteTx) error{
		func(tx mvcc.WriteTx) error {
			return tx.PutLease(mvcc.Lease{ID: 7, TTL: time.Hour, Expires: time.Now()})
		},
		func(tx mvcc.WriteTx) error {
			return tx.Append(mvcc.Row{Rev: 2, Key: []byte("a"), Value: []byte("1"), Lease: 7})
		},
		func(tx mvcc.WriteTx) error { return tx.PutNote("n", []byte("noted")) },
		func(tx mvcc.WriteTx) error {
			tx.Append(mvcc.Row{Rev: 3, Key: []byte("a"), Deleted: true})
			return tx.Append(mvcc.Row{Rev: 3, Sub: 1, Key: []byte("b"), Value: []byte{0, '\n', 255}})
		},
		func(tx mvcc.WriteTx) error {
			return tx.Append(mvcc.Row{Rev: 4, Key: []byte("b"), Value: []byte("2"), Lease: 7})
		},
		func(tx mvcc.WriteTx) error { return tx.Compact(3) },
	} {
		if err := s.Update(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that ends anywhere is read up to its last whole record; one that is
// damaged elsewhere is refused, with the place.
func TestTornAndDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	fillStore(t, s)
	want := show(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reopen := func(content []byte) (string, error) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			return "", err
		}
		defer s.Close()
		return show(t, s), nil
	}
	if got, err := reopen(good); err != nil || got != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	for n := range len(good) {
		if _, err := reopen(good[:n]); err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(good), err)
		}
	}
	torn := bytes.Clone(good)
	clear(torn[len(torn)-20 : len(torn)-5]) // a block that the disk did not write
	if got, err := reopen(torn); err != nil || got == want {
		t.Errorf("a torn last record: %v %s", err, got)
	}
	for n := 0; n < len(good)-1; n += 7 {
		bad := bytes.Clone(good)
		bad[n] ^= 1
		_, err := reopen(bad)
		line := 1 + bytes.Count(good[:n], []byte("\n"))
		at := bytes.LastIndexByte(good[:n], '\n') + 1
		if place := fmt.Sprintf("%s: line %d at byte %d is damaged", path, line, at); bad[n] != '\n' && good[n] != '\n' && (err == nil || !strings.Contains(err.Error(), place)) {
			t.Fatalf("byte %d of %d: %v, want %s", n, len(good), err, place)
		}
	}
}

// The file stays within a few times of what is in the store.
func TestGrowth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 64<<10)
	for n := range 400 {
		if err := put(s, fmt.Sprint(n%10), value); err != nil {
			t.Fatal(err)
		}
		if n%20 == 19 {
			if err := s.Update(t.Context(), func(tx mvcc.WriteTx) error { return tx.Compact(tx.State().Rev) }); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := os.Stat(path); err != nil || st.Size() > smallest+growth*40*int64(len(value)) {
			t.Fatalf("after %d writes: %v, %d bytes", n, err, st.Size())
		}
	}
	want := show(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	if got := show(t, s); got != want {
		t.Error("another store is read than was written")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was written at the compacted revision stays, all of it: a watch may start
// there.
func TestCompactKeepsTheRevision(t *testing.T) {
	s := New()
	fillStore(t, s) // revision 3 deletes a key
	err := s.Update(t.Context(), func(tx mvcc.WriteTx) error {
		tx.Append(mvcc.Row{Rev: 5, Key: []byte("b"), Deleted: true})
		return tx.Append(mvcc.Row{Rev: 5, Sub: 1, Key: []byte("b"), Value: []byte("3")})
	})
	if err == nil {
		err = s.Update(t.Context(), func(tx mvcc.WriteTx) error { return tx.Compact(5) })
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := show(t, s); !strings.Contains(got, "5.0 b= lease 0 deleted true") || !strings.Contains(got, "5.1 b=3") || strings.Contains(got, "4.0") {
		t.Error(got)
	}
}

// The file stays within bounds also when the process is often started anew.
func TestGrowthOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	value := strings.Repeat("x", 256<<10)
	for n := range 16 {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			if err := put(s, fmt.Sprint(i%2), value); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Update(t.Context(), func(tx mvcc.WriteTx) error { return tx.Compact(tx.State().Rev) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Size() > smallest+growth*10*int64(len(value)) {
			t.Fatalf("after %d starts: %v, %d bytes", n+1, err, st.Size())
		}
	}
}

// A file that could not be written anew leaves nothing behind that takes space.
func TestReplaceFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	j := &journal{path: path}
	if err := j.replace(New().everything()); err == nil {
		t.Fatal("a folder was replaced by a file")
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new file is still there: %v", err)
	}
}

// A write that the disk refuses has not happened, for those either who saw it
// before that was known.
func TestDiskFails(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s, "a", "1"); err != nil {
		t.Fatal(err)
	}
	want := show(t, s)
	s.log.f.Close()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := put(s, fmt.Sprint(i), "2"); err == nil {
				t.Error("a write that was not kept was acknowledged")
			}
		})
	}
	all.Wait()
	if got := show(t, s); got != want {
		t.Errorf("something of it has happened:\n%s", got)
	}
}

// waiting is how many updates wait for the disk.
func (s *Store) waiting() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.next == nil {
		return 0
	}
	return len(s.next.txs)
}

// What a failed write did to a lease is taken back, also when the lease was kept
// alive in the same batch.
func TestDiskFailsWithLease(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	lease := mvcc.Lease{ID: 7, TTL: time.Hour, Expires: time.Now()}
	grant := func(tx mvcc.WriteTx) error { return tx.PutLease(lease) }
	if err := s.Update(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	attach := func(i int) error {
		return s.Update(t.Context(), func(tx mvcc.WriteTx) error {
			rev := tx.State().Rev + 1
			return tx.Append(mvcc.Row{Rev: rev, Key: fmt.Appendf(nil, "%03d", i), Create: rev, Version: 1, Lease: 7})
		})
	}
	for i := range 63 { // as many as fit a node of the B-tree
		if err := attach(i); err != nil {
			t.Fatal(err)
		}
	}
	want := show(t, s)
	s.log.f.Close()
	s.log.mu.Lock() // so that all that follows is in one batch
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			write := func() error { return attach(100 + i) }
			if i == 0 {
				write = func() error { return s.Update(t.Context(), grant) }
			}
			if write() == nil {
				t.Error("a write that was not kept was acknowledged")
			}
		})
		for s.waiting() <= i {
			runtime.Gosched()
		}
	}
	s.log.mu.Unlock()
	all.Wait()
	if got := show(t, s); got != want {
		t.Errorf("something of it has happened:\n%s", got)
	}
}

// Many who write at once share the disk's time, and each finds what he wrote.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 50 {
				if err := put(s, fmt.Sprint(i), fmt.Sprint(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want := show(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := show(t, s); got != want || !strings.HasSuffix(got, "revision 801") {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
