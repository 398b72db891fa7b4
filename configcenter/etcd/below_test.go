package etcd

import (
	"testing"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

func TestListBelow(t *testing.T) {
	c := own(t)
	for k, ids := range map[resource.Kind][]string{
		resource.Consumers:              {"bob", "bobby"},
		resource.Credentials:            {"bob/credentials/1", "bob/credentials/2", "bobby/credentials/3"},
		resource.GraphQLCostDecorations: {"s/graphql_cost_decorations/1", "s2/graphql_cost_decorations/2"},
	} {
		for _, id := range ids {
			if _, err := c.Put(t.Context(), k, id, []byte(`{}`), configcenter.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []struct {
		kind   resource.Kind
		parent string
		n      int
	}{{resource.Credentials, "bob", 2}, {resource.Credentials, "bobby", 1}, {resource.Credentials, "bo", 0},
		{resource.GraphQLCostDecorations, "s", 1}} {
		list, err := c.ListBelow(t.Context(), want.kind, want.parent)
		if err != nil || len(list) != want.n {
			t.Errorf("%s of %s: %v %v, want %d", want.kind, want.parent, list, err, want.n)
		}
	}
}
