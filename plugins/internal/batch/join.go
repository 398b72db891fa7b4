package batch

import "bytes"

// JSON is how the loggers send entries that are JSON: one by itself when
// batches hold one, else a list.
func (o *Config) JSON(entries [][]byte) []byte {
	if o.BatchMaxSize == 1 {
		return entries[0]
	}
	b := make([]byte, 0, size(entries)+2)
	b = append(b, '[')
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']')
}

func size(entries [][]byte) int {
	n := 0
	for _, e := range entries {
		n += len(e) + 1
	}
	return n
}

// Lines are entries with line breaks between them.
func Lines(entries [][]byte) []byte { return bytes.Join(entries, []byte{'\n'}) }
