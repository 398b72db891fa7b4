package memory

import (
	"context"
	"fmt"
	"testing"

	"sluice/configcenter"
	"sluice/configcenter/contract"
	"sluice/configcenter/resource"
)

func TestContract(t *testing.T) {
	contract.Run(t, func(*testing.T) contract.Center { return New("/apisix") })
}

func TestReplace(t *testing.T) {
	c := New("/apisix")
	f := contract.Follow(t, c)
	contract.Put(t, c, "1", "a")
	f.AwaitLen(1)
	rev := c.Replace([]configcenter.Change{
		{Kind: resource.Routes, ID: "2", Value: contract.Route("b"), Mod: 40},
		{Kind: resource.Routes, ID: "3", Value: contract.Route("c"), Mod: 7},
	})
	if rev != 40 {
		t.Errorf("revision %d", rev)
	}
	f.AwaitLen(2)
	f.AwaitRoute("3", "c")
	contract.Put(t, c, "4", "d")
	f.AwaitRoute("4", "d")
}

// A reader that is far behind gets everything again.
func TestSlowReader(t *testing.T) {
	c := New("/apisix")
	full, n := 0, 0
	for b := range c.Watch(t.Context()) {
		if b.Full {
			full++
		}
		if n = n + 1; n == 2 {
			break
		}
		for i := range 2 * history {
			if _, err := c.Put(context.Background(), resource.Routes, fmt.Sprint(i%10), contract.Route("x"), configcenter.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if full != 2 {
		t.Errorf("%d full batches", full)
	}
}
