package configcenter

import "sluice/configcenter/resource"

// Coalesce makes one batch of several that follow each other: of each object
// only the last change is left, and what lies before a full batch is dropped.
// The result brings the reader to the last revision.
func Coalesce(batches ...Batch) Batch {
	var out Batch
	if len(batches) == 1 {
		return batches[0]
	}
	at := map[resource.Ref]int{}
	for _, b := range batches {
		out.Rev = b.Rev
		if b.Full {
			out.Full = true
			out.Changes = nil
			clear(at)
		}
		for _, c := range b.Changes {
			ref := resource.Ref{Kind: c.Kind, ID: c.ID}
			if i, ok := at[ref]; ok {
				out.Changes[i] = c
				continue
			}
			at[ref] = len(out.Changes)
			out.Changes = append(out.Changes, c)
		}
	}
	return out
}
