package plugins

import (
	"context"
	"slices"
	"testing"

	"sluice/gateway/wire"
)

// TestDelayedHeader: it comes after every HeaderFilter, whatever the priority,
// and Skip leaves a plugin out of all that follows.
func TestDelayedHeader(t *testing.T) {
	var ran []string
	note := func(what string) func(*Ctx) error {
		return func(*Ctx) error { ran = append(ran, what); return nil }
	}
	chain := NewChain([]*Instance{
		{Spec: &Spec{Name: "low"}, Priority: 1, Phases: Phases{HeaderFilter: note("low"), DelayedHeader: note("low delayed")}},
		{Spec: &Spec{Name: "high"}, Priority: 2, Phases: Phases{HeaderFilter: note("high"), DelayedHeader: note("high delayed")}},
	}, nil)
	c := new(Ctx)
	walk := func() {
		for _, f := range []func(*Ctx) error{chain.HeaderFilter, chain.DelayedHeader} {
			if err := f(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Reset(context.Background(), new(wire.Request), nil, nil)
	walk()
	if want := []string{"high", "low", "high delayed", "low delayed"}; !slices.Equal(ran, want) {
		t.Errorf("%q", ran)
	}
	ran = nil
	c.Skip("high")
	walk()
	if want := []string{"low", "low delayed"}; !slices.Equal(ran, want) {
		t.Errorf("skipped: %q", ran)
	}
	ran = nil
	c.Reset(context.Background(), new(wire.Request), nil, nil)
	walk()
	if len(ran) != 4 {
		t.Errorf("in the next request: %q", ran)
	}
}

// TestContent: what was answered before goes out as it is.
func TestContent(t *testing.T) {
	stored := &Reply{Status: 404, Body: &Content{Bytes: []byte("x")}}
	chain := NewChain([]*Instance{{Spec: &Spec{Name: "a"}, ErrorResponse: "other",
		Phases: Phases{Access: func(*Ctx) (*Reply, error) { return stored, nil }}}}, nil)
	c := new(Ctx)
	c.Reset(context.Background(), new(wire.Request), nil, nil)
	c.OnExit(func(*Ctx, *Reply) *Reply { return &Reply{Status: 500} })
	rep, err := chain.Access(c)
	if err != nil || c.Exits(rep) != stored {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestEmptyArrayIsNoMeta(t *testing.T) {
	if m, err := MetaOf([]byte(" [] ")); err != nil || m.Disable {
		t.Errorf("%v %v", m, err)
	}
	if _, err := MetaOf([]byte("[1]")); err == nil {
		t.Error("an array is taken")
	}
	spec := &Spec{Name: "x", Schema: `{"type":"object","properties":{"a":{"type":"integer","default":1}}}`}
	c, _, err := NewCatalog(Registry{"x": spec}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if filled, err := c.Check("x", []byte("[]"), Conf); err != nil || string(filled) != `{"a":1}` {
		t.Errorf("%s %v", filled, err)
	}
}
