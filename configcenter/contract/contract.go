// Package contract is the suite of tests that every configuration centre must
// pass: what Source and Store promise, whoever keeps them. It is used by tests
// only and does not know which centre it looks at.
package contract

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// Center is what the suite tests.
type Center interface {
	configcenter.Source
	configcenter.Store
}

// Run tests the centres that open makes; each is to be empty.
func Run(t *testing.T, open func(*testing.T) Center) {
	for name, test := range map[string]func(*testing.T, Center){
		"empty":     testEmpty,
		"revisions": testRevisions,
		"conflict":  testConflict,
		"delete":    testDelete,
		"places":    testPlaces,
		"ids":       testIDs,
		"ttl":       testTTL,
		"order":     testOrder,
		"counter":   testCounter,
		"many":      testMany,
		"big":       testBig,
		"end":       testEnd,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Route is a valid route with a name.
func Route(name string) []byte {
	return fmt.Appendf(nil, `{"uri":"/","name":%q,"plugins":{}}`, name)
}

// Put stores a route, and fails the test if that fails.
func Put(t *testing.T, st configcenter.Store, id, name string) configcenter.Change {
	t.Helper()
	c, err := st.Put(context.Background(), resource.Routes, id, Route(name), configcenter.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testEmpty(t *testing.T, c Center) {
	ctx := t.Context()
	if _, err := c.Get(ctx, resource.Routes, "1"); !errors.Is(err, configcenter.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if l, err := c.List(ctx, resource.Routes); err != nil || len(l) != 0 {
		t.Errorf("List: %v, %v", l, err)
	}
	if err := c.Delete(ctx, resource.Routes, "1"); !errors.Is(err, configcenter.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	f := Follow(t, c)
	f.AwaitLen(0)
	Put(t, c, "1", "a")
	f.AwaitLen(1)
}

func testRevisions(t *testing.T, c Center) {
	one := Put(t, c, "1", "a")
	two := Put(t, c, "2", "b")
	if one.Create != one.Mod || two.Mod <= one.Mod || one.ID != "1" || one.Kind != resource.Routes || string(one.Value) != string(Route("a")) {
		t.Errorf("made %+v and %+v", one, two)
	}
	again := Put(t, c, "1", "c")
	if again.Create != one.Create || again.Mod <= two.Mod {
		t.Errorf("first %+v, then %+v", one, again)
	}
	got, err := c.Get(t.Context(), resource.Routes, "1")
	if err != nil || got.Create != again.Create || got.Mod != again.Mod || string(got.Value) != string(Route("c")) {
		t.Errorf("Get: %+v, %v", got, err)
	}
}

func testConflict(t *testing.T, c Center) {
	ctx := t.Context()
	put := func(id string, rev int64) error {
		_, err := c.Put(ctx, resource.Routes, id, Route("x"), configcenter.PutOptions{Rev: rev})
		return err
	}
	one := Put(t, c, "1", "a")
	Put(t, c, "1", "b")
	if err := put("1", one.Mod); !errors.Is(err, configcenter.ErrConflict) {
		t.Errorf("an old revision: %v", err)
	}
	if got, _ := c.Get(ctx, resource.Routes, "1"); string(got.Value) != string(Route("b")) {
		t.Errorf("a conflict changed the value to %s", got.Value)
	}
	now, _ := c.Get(ctx, resource.Routes, "1")
	if err := put("1", now.Mod); err != nil {
		t.Errorf("the stored revision: %v", err)
	}
	if err := put("none", 1); !errors.Is(err, configcenter.ErrConflict) {
		t.Errorf("a revision of a missing key: %v", err)
	}
}

func testDelete(t *testing.T, c Center) {
	f := Follow(t, c)
	Put(t, c, "1", "a")
	Put(t, c, "2", "a")
	f.AwaitLen(2)
	if err := c.Delete(t.Context(), resource.Routes, "1"); err != nil {
		t.Fatal(err)
	}
	f.AwaitLen(1)
	if err := c.Delete(t.Context(), resource.Routes, "1"); !errors.Is(err, configcenter.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
	if l, err := c.List(t.Context(), resource.Routes); err != nil || len(l) != 1 || l[0].ID != "2" {
		t.Errorf("List: %v, %v", l, err)
	}
	Put(t, c, "1", "again")
	f.AwaitRoute("1", "again")
}

// Every kind has its place, also those that live below others.
func testPlaces(t *testing.T, c Center) {
	for k, id := range map[resource.Kind]string{
		resource.Consumers:              "bob",
		resource.Credentials:            "bob/credentials/1",
		resource.Services:               "s",
		resource.GraphQLCostDecorations: "s/graphql_cost_decorations/1",
		resource.Secrets:                "vault/1",
		resource.PluginList:             "",
		resource.SSLs:                   "1",
	} {
		if _, err := c.Put(t.Context(), k, id, []byte(`{}`), configcenter.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if l, err := c.List(t.Context(), k); err != nil || len(l) != 1 || l[0].ID != id || l[0].Kind != k {
			t.Errorf("List %s: %v, %v", k, l, err)
		}
		if got, err := c.Get(t.Context(), k, id); err != nil || got.ID != id || string(got.Value) != `{}` {
			t.Errorf("Get %s: %v, %v", k, got, err)
		}
	}
}

func testIDs(t *testing.T, c Center) {
	last := int64(0)
	for range 5 {
		id, err := c.NextID(t.Context())
		if err != nil || id <= last {
			t.Fatalf("id %d after %d, %v", id, last, err)
		}
		last = id
	}
	if l, err := c.List(t.Context(), resource.Routes); err != nil || len(l) != 0 {
		t.Errorf("ids show up as objects: %v, %v", l, err)
	}
}

func testTTL(t *testing.T, c Center) {
	f := Follow(t, c)
	Put(t, c, "stays", "a")
	if _, err := c.Put(t.Context(), resource.Routes, "goes", Route("b"), configcenter.PutOptions{TTL: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), resource.Routes, "kept", Route("c"), configcenter.PutOptions{TTL: 1}); err != nil {
		t.Fatal(err)
	}
	Put(t, c, "kept", "c") // a write without a TTL takes it away
	f.AwaitLen(3)
	f.AwaitLen(2)
	if f.snapshot().Get(resource.Routes, "goes") != nil {
		t.Error("the wrong one went")
	}
}

// Whatever the batches are, the last write of each object is what is left.
func testOrder(t *testing.T, c Center) {
	f := Follow(t, c)
	for i := range 200 {
		Put(t, c, fmt.Sprint(i%7), fmt.Sprint("v", i))
		if i%5 == 4 {
			if err := c.Delete(t.Context(), resource.Routes, fmt.Sprint(i%7)); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := Put(t, c, "last", "end")
	f.AwaitRoute("last", "end")
	s := f.snapshot()
	want, err := c.List(t.Context(), resource.Routes)
	if err != nil || s.Rev() < last.Mod || s.Len(resource.Routes) != len(want) {
		t.Fatalf("revision %d, %d routes; want %d, %d; %v", s.Rev(), s.Len(resource.Routes), last.Mod, len(want), err)
	}
	for _, w := range want {
		got := s.Get(resource.Routes, w.ID)
		if got == nil || got.Mod != w.Mod || got.Create != w.Create || string(got.Raw) != string(w.Value) {
			t.Errorf("route %s: %+v, want %+v", w.ID, got, w)
		}
	}
}

// Writers that compare and swap lose no step.
func testCounter(t *testing.T, c Center) {
	const writers, steps = 4, 10
	ctx := t.Context()
	put := func(n int, rev int64) error {
		_, err := c.Put(ctx, resource.Routes, "n", Route(fmt.Sprint(n)), configcenter.PutOptions{Rev: rev})
		return err
	}
	if err := put(0, 0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < steps; {
				now, err := c.Get(ctx, resource.Routes, "n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscanf(string(now.Value), `{"uri":"/","name":"%d"`, &n); err != nil {
					t.Error(err)
					return
				}
				switch err := put(n+1, now.Mod); {
				case err == nil:
					done++
				case !errors.Is(err, configcenter.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, err := c.Get(ctx, resource.Routes, "n"); err != nil || string(got.Value) != string(Route(fmt.Sprint(writers*steps))) {
		t.Errorf("got %s, %v", got.Value, err)
	}
}

// More objects than fit on a page arrive whole, and in order of their keys.
func testMany(t *testing.T, c Center) {
	const n = 2500
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := w; i < n; i += 50 {
				Put(t, c, fmt.Sprintf("%05d", i), "x")
			}
		})
	}
	wg.Wait()
	l, err := c.List(t.Context(), resource.Routes)
	if err != nil || len(l) != n {
		t.Fatalf("%d objects, %v", len(l), err)
	}
	for i, o := range l {
		if o.ID != fmt.Sprintf("%05d", i) {
			t.Fatalf("at %d is %s", i, o.ID)
		}
	}
	Follow(t, c).AwaitLen(n)
}

// A value above the usual 4 MB of a gRPC message goes through, in and out.
func testBig(t *testing.T, c Center) {
	f := Follow(t, c)
	f.AwaitLen(0)
	value := fmt.Appendf(nil, `{"uri":"/","plugins":{"x":{"s":"%05000000d"}}}`, 7)
	if _, err := c.Put(t.Context(), resource.Routes, "big", value, configcenter.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	f.AwaitLen(1)
	if got, err := c.Get(t.Context(), resource.Routes, "big"); err != nil || len(got.Value) != len(value) {
		t.Errorf("got %d bytes of %d, %v", len(got.Value), len(value), err)
	}
}

// A watch ends when its context does, and when its reader leaves.
func testEnd(t *testing.T, c Center) {
	Put(t, c, "1", "a")
	for b, err := range c.Watch(t.Context()) {
		if err != nil || !b.Full || len(b.Changes) != 1 {
			t.Errorf("first batch %+v, %v", b, err)
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n := 0
	for range c.Watch(ctx) {
		if n++; n == 1 {
			cancel()
		}
	}
	if n != 1 {
		t.Errorf("%d batches", n)
	}
}
