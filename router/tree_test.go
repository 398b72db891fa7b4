package router

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// key makes a key or a text; sometimes with bytes of all values, sometimes one
// too long for its length to have room in a mark.
func (d dice) key() string {
	b := []byte(pick(d, "", "", "/a", "/abc/", strings.Repeat("x", 70_000)))
	for range d.IntN(6) {
		b = append(b, pick(d, 'a', 'b', '/', byte(d.IntN(256))))
	}
	return string(b)
}

func TestNodeFindsLikeAMap(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		for seed := range uint64(4) {
			d := dice{rand.New(rand.NewPCG(seed, 3))}
			live := map[string]int{}
			var n *node[int]
			for range 12 {
				before, old := n, maps.Clone(live)
				n = n.with(d.edits(live, pick(d, 1, 3, 100)), indexed)
				compareNode(t, d, before, old, indexed)
				compareNode(t, d, n, live, indexed)
			}
			for key := range live {
				n = n.with([]edit[int]{{key: key, del: true}}, indexed)
				delete(live, key)
				if len(live)%16 == 0 {
					compareNode(t, d, n, live, indexed)
				}
			}
			if n != nil {
				t.Fatal("an empty map has a node")
			}
		}
	}
}

// edits makes sorted edits, and does them on live.
func (d dice) edits(live map[string]int, many int) []edit[int] {
	byKey := map[string]edit[int]{}
	for range many {
		e := edit[int]{key: d.key(), val: d.Int(), del: d.IntN(4) == 0}
		byKey[e.key] = e
		live[e.key] = e.val
		if e.del {
			delete(live, e.key)
		}
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b edit[int]) int { return strings.Compare(a.key, b.key) })
}

func compareNode(t *testing.T, d dice, n *node[int], live map[string]int, indexed bool) {
	t.Helper()
	if n.size() != len(live) {
		t.Fatalf("size = %d, want %d", n.size(), len(live))
	}
	for key, val := range live {
		if s := n.get(key); s == nil || s.key != key || s.val != val {
			t.Fatalf("get(%.20q): %v", key, s)
		}
	}
	for range 20 {
		text := d.key()
		if _, ok := live[text]; !ok && n.get(text) != nil {
			t.Fatalf("get(%.20q) finds what is not there", text)
		}
		if !indexed {
			continue
		}
		var got, want []string
		ascend(n, text, func(s *slot[int]) { got = append(got, s.key) })
		for key := range live {
			if strings.HasPrefix(text, key) {
				want = append(want, key)
			}
		}
		slices.SortFunc(want, func(a, b string) int { return len(b) - len(a) })
		if !slices.Equal(got, want) {
			t.Fatalf("find(%.20q) = %.60q, want %.60q", text, got, want)
		}
	}
}
