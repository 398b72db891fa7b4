package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// What changes while the export copies is not lost, also when it does not follow.
func TestExportCatchesUp(t *testing.T) {
	from := own(t)
	to := open(t, Config{Endpoints: from.cfg.Endpoints, Prefix: from.Prefix() + "-copy"})
	contract.Put(t, from, "1", "one")
	contract.Put(t, from, "2", "two")
	var told []int
	err := from.Export(t.Context(), to, false, false, func(keys int, _ int64) {
		if told = append(told, keys); len(told) > 1 {
			return
		}
		contract.Put(t, from, "2", "changed")
		contract.Put(t, from, "3", "three")
		if err := from.Delete(t.Context(), resource.Routes, "1"); err != nil {
			t.Error(err)
		}
	})
	if err != nil || !slices.Equal(told, []int{2, 3}) {
		t.Fatalf("told %v, %v", told, err)
	}
	all, err := to.List(t.Context(), resource.Routes)
	if err != nil || len(all) != 2 || !strings.Contains(string(all[0].Value), "changed") || all[1].ID != "3" {
		t.Errorf("%+v, %v", all, err)
	}
}
