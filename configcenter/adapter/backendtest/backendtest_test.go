package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/configcenter/adapter"
	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/mvcc"
)

// patience is how long anything may take before a test gives up.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(backendtest.Run(m)) }

// put appends one row; it says at which revision.
func put(ctx context.Context, b mvcc.Backend, key, value string) (rev int64, err error) {
	err = b.Update(ctx, func(tx mvcc.WriteTx) error {
		rev = tx.State().Rev + 1
		rows, err := tx.Range(mvcc.NewSpan([]byte(key), nil), rev-1, 1, true)
		if err != nil {
			return err
		}
		r := mvcc.Row{Rev: rev, Key: []byte(key), Value: []byte(value), Create: rev, Version: 1}
		if len(rows) > 0 {
			r.Create, r.Version = rows[0].Create, rows[0].Version+1
		}
		return tx.Append(r)
	})
	return rev, err
}

// change makes a new value of a key's old one.
func change(ctx context.Context, b mvcc.Backend, key string, f func(old string) string) (rev int64, err error) {
	err = b.Update(ctx, func(tx mvcc.WriteTx) error {
		rev = tx.State().Rev + 1
		r := mvcc.Row{Rev: rev, Key: []byte(key), Create: rev, Version: 1}
		rows, err := tx.Range(mvcc.NewSpan(r.Key, nil), rev-1, 1, true)
		if err != nil {
			return err
		}
		var old string
		if len(rows) > 0 {
			r.Create, r.Version, old = rows[0].Create, rows[0].Version+1, string(rows[0].Value)
		}
		r.Value = []byte(f(old))
		return tx.Append(r)
	})
	return rev, err
}

func remove(ctx context.Context, b mvcc.Backend, key string) error {
	return b.Update(ctx, func(tx mvcc.WriteTx) error {
		return tx.Append(mvcc.Row{Rev: tx.State().Rev + 1, Key: []byte(key), Deleted: true})
	})
}

func compact(ctx context.Context, b mvcc.Backend, rev int64) error {
	return b.Update(ctx, func(tx mvcc.WriteTx) error { return tx.Compact(rev) })
}

// all is everything that a store shows, with a linearizable read.
func all(t testing.TB, b mvcc.Backend) (st mvcc.State, rows []mvcc.Row) {
	t.Helper()
	err := b.View(t.Context(), func(tx mvcc.Tx) (err error) {
		st = tx.State()
		rows, err = tx.Range(mvcc.Span{Open: true}, st.Rev, 0, true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, rows
}

// follow reads the rows from the beginning up to a revision, as they come.
func follow(ctx context.Context, b mvcc.Backend, from, to int64) (rows []mvcc.Row, err error) {
	for rev := from; rev < to && err == nil; {
		if err = b.Wait(ctx, rev); err != nil {
			break
		}
		err = b.View(ctx, func(tx mvcc.Tx) error {
			page, err := tx.Since(rev)
			rows = append(rows, page...)
			if len(page) > 0 {
				rev = page[len(page)-1].Rev
			}
			return err
		})
	}
	return rows, err
}

// openAll opens a store several times, as several processes would, at once.
func openAll(t *testing.T, url string, n int) []mvcc.Backend {
	t.Helper()
	stores := make([]mvcc.Backend, n)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() { stores[i] = backendtest.Open(t, url) })
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, s := range stores {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return stores
}

// eachShared runs a test for each kind of store that processes can share.
func eachShared(t *testing.T, f func(t *testing.T, k backendtest.Kind)) {
	for _, k := range backendtest.Kinds {
		if k.Shared {
			t.Run(k.Name, func(t *testing.T) {
				t.Parallel()
				f(t, k)
			})
		}
	}
}

// Processes that write at the same time: no revision is missing or given twice,
// none reads a value that another has changed, and all see the same.
func TestSeveralWriters(t *testing.T) {
	const processes, clients, writes = 3, 4, 12
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		stores := openAll(t, k.URL(t), processes)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, s := range stores[1:] {
			if s.ID() != stores[0].ID() {
				t.Fatal("processes that began at the same time made two stores")
			}
		}
		const last = 1 + processes*clients*writes
		var work, watch sync.WaitGroup
		seen := make([][]mvcc.Row, processes)
		for i, s := range stores {
			watch.Go(func() {
				rows, err := follow(ctx, s, 1, last)
				if err != nil {
					t.Error(err)
				}
				seen[i] = rows
			})
			for c := range clients {
				work.Go(func() { count(ctx, t, s, fmt.Sprint("client ", i, c), writes) })
			}
		}
		work.Wait()
		watch.Wait()
		for i, rows := range seen {
			if len(rows) != last-1 {
				t.Fatalf("process %d saw %d rows, %d were written", i, len(rows), last-1)
			}
			for j, r := range rows {
				if r.Rev != int64(j)+2 || !reflect.DeepEqual(r, seen[0][j]) {
					t.Fatalf("process %d saw %+v in place %d, the first one saw %+v", i, r, j, seen[0][j])
				}
			}
		}
		st, rows := all(t, stores[0])
		if st.Rev != last || len(rows) != 1 || string(rows[0].Value) != fmt.Sprint(last-1) {
			t.Errorf("revision %d with %+v, want %d", st.Rev, rows, last)
		}
	})
}

// count adds one to a number again and again, and sees that it reads what it
// wrote.
func count(ctx context.Context, t *testing.T, s mvcc.Backend, who string, writes int) {
	for range writes {
		rev, err := change(ctx, s, "number", func(old string) string {
			n, _ := strconv.Atoi(old)
			return strconv.Itoa(n + 1)
		})
		if err != nil {
			t.Error(who, err)
			return
		}
		err = s.View(ctx, func(tx mvcc.Tx) error {
			if st := tx.State(); st.Rev < rev {
				t.Errorf("%s: revision %d after a write of %d", who, st.Rev, rev)
			}
			return nil
		})
		if err != nil {
			t.Error(who, err)
		}
	}
}

// What one process wrote and answered, another reads at once.
func TestReadAfterWrite(t *testing.T) {
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		s := openAll(t, k.URL(t), 2)
		for i := range 50 {
			rev, err := put(t.Context(), s[i%2], "/key", fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			if st, rows := all(t, s[1-i%2]); st.Rev != rev || string(rows[0].Value) != fmt.Sprint(i) {
				t.Fatalf("revision %d with %s, want %d with %d", st.Rev, rows[0].Value, rev, i)
			}
		}
	})
}

// A process that did not look for a while, during which much was written and
// compacted, sees then what all see; so does one that starts then.
func TestCompactedMeanwhile(t *testing.T) {
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		url := k.URL(t)
		s := openAll(t, url, 2)
		ctx := t.Context()
		random := rand.New(rand.NewPCG(1, 2))
		there := map[string]bool{}
		for round := range 4 {
			all(t, s[1])
			for range 60 {
				key := fmt.Sprint("/", random.IntN(20))
				var err error
				if there[key] && random.IntN(3) == 0 {
					err = remove(ctx, s[0], key)
					there[key] = false
				} else {
					_, err = put(ctx, s[0], key, fmt.Sprint(round))
					there[key] = true
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			st, want := all(t, s[0])
			if err := compact(ctx, s[0], st.Rev-int64(random.IntN(30))); err != nil {
				t.Fatal(err)
			}
			if err := s[round%2].Defragment(ctx); err != nil {
				t.Fatal(err)
			}
			late := backendtest.Open(t, url)
			for who, b := range map[string]mvcc.Backend{"the writer": s[0], "a process that was away": s[1], "a new process": late} {
				if _, got := all(t, b); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s sees\n%v, want\n%v", who, got, want)
				}
			}
			if err := late.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A lease that ends is ended by one of the processes, once.
func TestLeaseEndsOnce(t *testing.T) {
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		s := openAll(t, k.URL(t), 3)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := s[0].Update(ctx, func(tx mvcc.WriteTx) error {
			for i := range int64(10) {
				r := mvcc.Row{Rev: 2, Sub: i, Key: fmt.Append(nil, i), Create: 2, Version: 1, Lease: 1 + i}
				l := mvcc.Lease{ID: 1 + i, TTL: 2 * time.Second, Expires: time.Now().Add(-time.Second)}
				if err := errors.Join(tx.PutLease(l), tx.Append(r)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range s {
			a, err := adapter.New(adapter.Config{Backend: b, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
		}
		rows, err := follow(ctx, s[1], 2, 12)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			if !r.Deleted || r.Rev != int64(3+i) {
				t.Errorf("row %d is %+v", i, r)
			}
		}
		for _, b := range s {
			if st, rows := all(t, b); st.Rev != 12 || len(rows) != 0 {
				t.Errorf("revision %d with %v, want 12 with nothing", st.Rev, rows)
			}
		}
	})
}

// Leases are seen by all processes as one of them left them.
func TestLeasesOfOthers(t *testing.T) {
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		s := openAll(t, k.URL(t), 2)
		ctx := t.Context()
		random := rand.New(rand.NewPCG(1, 2))
		want := map[int64]mvcc.Lease{}
		for i := range 2500 {
			n := 1
			if i < 2400 {
				n = 20 // many in one update, so that there are enough changes for old ones to be forgotten
			}
			if i%20 != 0 && i < 2400 {
				continue
			}
			err := s[i/20%2].Update(ctx, func(tx mvcc.WriteTx) error {
				for range n {
					l := mvcc.Lease{ID: 1 + random.Int64N(30), TTL: 5 * time.Second, Expires: time.UnixMilli(random.Int64N(1e12))}
					if random.IntN(2) == 0 {
						delete(want, l.ID)
						if err := tx.DeleteLease(l.ID); err != nil {
							return err
						}
						continue
					}
					want[l.ID] = l
					if err := tx.PutLease(l); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				sameLeases(t, s, want)
			}
		}
		sameLeases(t, s, want)
	})
}

func sameLeases(t *testing.T, stores []mvcc.Backend, want map[int64]mvcc.Lease) {
	t.Helper()
	for _, b := range stores {
		err := b.View(t.Context(), func(tx mvcc.Tx) error {
			ls, err := tx.Leases(0)
			got := map[int64]mvcc.Lease{}
			for _, l := range ls {
				got[l.ID] = l
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("leases %v, want %v", got, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Who looks at a frozen store keeps nobody waiting, and sees nothing of what
// others do meanwhile.
func TestFreeze(t *testing.T) {
	for _, k := range backendtest.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			s := k.Open(t)
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			const keys = 200
			for i := range keys {
				if _, err := put(ctx, s, fmt.Sprint("/", i), "before"); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Freeze(ctx, func(tx mvcc.Tx) error {
				done := make(chan error, 1)
				go func() { done <- overwrite(ctx, s, keys) }()
				for again := true; again; {
					select {
					case err := <-done:
						if err != nil {
							return err
						}
						again = false // once more, when all is over
					default:
					}
					rows, err := tx.Range(mvcc.Span{Open: true}, tx.State().Rev, 0, true)
					if err != nil || len(rows) != keys || tx.State().Rev != keys+1 {
						return fmt.Errorf("%d keys at %d: %w", len(rows), tx.State().Rev, err)
					}
					for _, r := range rows {
						if string(r.Value) != "before" {
							return fmt.Errorf("%s is %s", r.Key, r.Value)
						}
					}
					if page, err := tx.Since(1); err != nil || len(page) != keys {
						return fmt.Errorf("%d rows: %w", len(page), err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// overwrite changes all of the keys, and compacts.
func overwrite(ctx context.Context, s mvcc.Backend, keys int) error {
	var rev int64
	for i := range keys {
		var err error
		if rev, err = put(ctx, s, fmt.Sprint("/", i), "after"); err != nil {
			return err
		}
	}
	return compact(ctx, s, rev)
}

// Keys are bytes, of any length and in the order of bytes; values may be large.
func TestBytes(t *testing.T) {
	keys := []string{"\x00", "\x00\x00", " ", "  ", "A", "B", "a", "a ", "b", "\u00e4", "\u00c4", "\xff", "\xff\xfe", "'\"\\%_?$1",
		string(bytes.Repeat([]byte("k"), 100_000)), string(bytes.Repeat([]byte("k"), 100_000)) + " "}
	slices.Sort(keys)
	for _, k := range backendtest.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			url := k.URL(t)
			s := backendtest.Open(t, url)
			defer func() { s.Close() }()
			large := string(bytes.Repeat([]byte("\x00\xff\n'"), 1<<18))
			for i := range keys {
				value := ""
				if i%5 == 0 {
					value = large
				}
				if _, err := put(t.Context(), s, keys[len(keys)-1-i], value); err != nil {
					t.Fatal(err)
				}
			}
			if k.Durable {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = backendtest.Open(t, url)
			}
			_, rows := all(t, s)
			if len(rows) != len(keys) {
				t.Fatalf("%d keys, want %d", len(rows), len(keys))
			}
			for i, r := range rows {
				if string(r.Key) != keys[i] || len(r.Value) > 0 && string(r.Value) != large {
					t.Errorf("key %d is %.20q with %d bytes, want %.20q", i, r.Key, len(r.Value), keys[i])
				}
			}
		})
	}
}

// A database that is restarted, or does not answer for a while: requests fail
// in time, and go through again afterwards; nothing that was answered is lost.
func TestServerAway(t *testing.T) {
	eachShared(t, func(t *testing.T, k backendtest.Kind) {
		server := k.Server(t)
		if server == nil {
			return // there is no server that could be away
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		s := openAll(t, server.URL(t), 2)
		followed := make(chan error, 1)
		go func() { followed <- waitFor(ctx, s[1], 3) }() // ends with the test's last write
		if _, err := put(ctx, s[0], "/key", "before"); err != nil {
			t.Fatal(err)
		}
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := put(ctx, s[0], "/key", "lost"); err == nil {
			t.Error("a write went through without a server")
		}
		if err := s[0].View(ctx, func(mvcc.Tx) error { return nil }); err == nil {
			t.Error("a read went through without a server")
		}
		if err := s[0].(mvcc.Local).Peek(func(tx mvcc.Tx) error {
			if n, err := tx.Count(mvcc.Span{Open: true}, tx.State().Rev); n != 1 || err != nil {
				t.Errorf("without a server there are %d keys, %v", n, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		if _, rows := all(t, s[0]); len(rows) != 1 || string(rows[0].Value) != "before" {
			t.Errorf("after a restart there is %v", rows)
		}
		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
		for what, f := range map[string]func(context.Context) error{
			"read":  func(ctx context.Context) error { return s[0].View(ctx, func(mvcc.Tx) error { return nil }) },
			"write": func(ctx context.Context) error { return remove(ctx, s[1], "/none") },
		} {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			if err := f(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a %s from a server that hangs: %v", what, err)
			}
			cancel()
		}
		if err := server.Continue(); err != nil {
			t.Fatal(err)
		}
		rev, err := put(ctx, s[0], "/key", "after")
		if err != nil || rev < 3 {
			t.Errorf("a write afterwards: revision %d, %v", rev, err)
		}
		if err := <-followed; err != nil {
			t.Error(err)
		}
	})
}

// waitFor follows through errors, as a server does.
func waitFor(ctx context.Context, b mvcc.Backend, rev int64) error {
	for {
		if err := b.Wait(ctx, rev-1); err == nil || ctx.Err() != nil {
			return err
		}
	}
}
