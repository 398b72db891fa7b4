// Package backendtest is the list of the etcd adapter's stores, for tests that
// have to pass on each of them. It does not know what the tests look at.
package backendtest

import (
	"os"
	"path/filepath"
	"testing"

	"sluice/configcenter/adapter/backend"
	"sluice/configcenter/adapter/mvcc"
)

// Kind is one kind of store.
type Kind struct {
	Name    string
	Durable bool // the store outlives the process, even one that is killed
	Shared  bool // several processes may have it open at the same time

	// make returns the name of a new empty store as backend.Open takes it. The
	// store ends with the test.
	make   func(testing.TB) string
	server *engine // nil: none is needed
}

// OnDisk wants the stores where they would be in earnest, for measurements.
// Otherwise they are in memory, where there is a folder for that: a disk that
// others keep busy may take longer for a write than a request may.
var OnDisk bool

// fast is where folders are made; "": in the usual place.
func fast(t testing.TB) string {
	if _, bench := t.(*testing.B); bench || OnDisk {
		return ""
	}
	return inMemory()
}

// folder makes a folder that ends with the test.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(fast(t), "sluice-store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Kinds are all there are.
var Kinds = []Kind{
	{Name: "memory", make: func(testing.TB) string { return "memory" }},
	{Name: "file", Durable: true, make: func(t testing.TB) string {
		return "memory:" + filepath.Join(folder(t), "store")
	}},
	{Name: "sqlite", Durable: true, Shared: true, make: func(t testing.TB) string {
		return "sqlite://" + filepath.Join(folder(t), "store")
	}},
	{Name: "postgres", Durable: true, Shared: true, make: postgres.db, server: postgres},
	{Name: "mysql", Durable: true, Shared: true, make: mariadb.db, server: mariadb},
}

// Server starts a database server of the kind that no other test uses; nil when
// the kind has none. It ends with the test.
func (k Kind) Server(t testing.TB) *Server {
	t.Helper()
	if k.server == nil {
		return nil
	}
	s, err := k.server.newServer(fast(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// URL makes an empty store and returns its name, as --backend takes it.
func (k Kind) URL(t testing.TB) string {
	t.Helper()
	return k.make(t)
}

// Open makes an empty store and opens it. The caller closes it.
func (k Kind) Open(t testing.TB) mvcc.Backend {
	t.Helper()
	return Open(t, k.make(t))
}

// Open opens the store of a URL. The caller closes it.
func Open(t testing.TB, url string) mvcc.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
