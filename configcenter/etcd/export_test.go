package etcd

import (
	"context"
	"errors"
	"testing"

	"sluice/configcenter/contract"
	"sluice/configcenter/resource"
)

// What is there is copied, what changes is followed until the export is ended.
func TestExportFollows(t *testing.T) {
	from := own(t)
	target := start(t, t.TempDir())
	defer target.Stop()
	to := open(t, Config{Endpoints: []string{target.URL()}, Prefix: "/elsewhere"})
	contract.Put(t, from, "1", "one")
	contract.Put(t, from, "2", "two")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- from.Export(ctx, to, false, true, func(int, int64) {}) }()
	f := contract.Follow(t, to)
	f.AwaitRoute("2", "two")
	contract.Put(t, from, "2", "changed")
	f.AwaitRoute("2", "changed")
	if err := from.Delete(t.Context(), resource.Routes, "1"); err != nil {
		t.Fatal(err)
	}
	f.AwaitLen(1)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.Stop()
	if err := from.Export(t.Context(), to, false, false, func(int, int64) {}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a target with keys: %v", err)
	}
	if err := from.Export(t.Context(), to, true, false, func(int, int64) {}); err != nil {
		t.Error(err)
	}
	if o, err := to.Get(t.Context(), resource.Routes, "2"); err != nil || o.Kind != resource.Routes {
		t.Errorf("%+v, %v", o, err)
	}
}
