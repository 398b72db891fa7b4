package adapter

import (
	"testing"

	"sluice/configcenter/adapter/mvcc"
)

// A watch that is behind gets what it lacks in parts of bounded size: whole
// revisions, all of them, in order.
func TestHubParts(t *testing.T) {
	h := newHub(1)
	var rows []mvcc.Row
	for rev := int64(2); rev <= 40; rev++ {
		for sub := range int64(300) {
			rows = append(rows, mvcc.Row{Rev: rev, Sub: sub, Key: make([]byte, 30), Value: make([]byte, 1000)})
		}
	}
	h.add(rows, 40, false)
	var got []mvcc.Row
	at := int64(1)
	for at < 40 {
		part, to, ok := h.since(at)
		if !ok || to <= at || len(part) > 1200 || len(part) > 0 && part[len(part)-1].Rev > to {
			t.Fatalf("after %d: %d rows up to %d, %v", at, len(part), to, ok)
		}
		got, at = append(got, part...), to
	}
	if len(got) != len(rows) {
		t.Fatalf("%d rows, want %d", len(got), len(rows))
	}
	for i, r := range got {
		if r.Rev != rows[i].Rev || r.Sub != rows[i].Sub {
			t.Fatalf("row %d is %d.%d, want %d.%d", i, r.Rev, r.Sub, rows[i].Rev, rows[i].Sub)
		}
	}
}
