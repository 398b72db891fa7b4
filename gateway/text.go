package gateway

// text is the parts joined: short-lived, made without garbage.
func (w *walk) text(parts ...string) string {
	b := w.Scratch()
	for _, p := range parts {
		b = append(b, p...)
	}
	return w.Keep(b)
}

// lower is s in lower case (ASCII), as short-lived as text.
func (w *walk) lower(s string) string {
	b := w.Scratch()
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return w.Keep(b)
}
