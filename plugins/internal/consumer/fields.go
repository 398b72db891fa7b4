package consumer

import "sluice/gateway/wire"

// Replace makes value the only value of the field name, also where a server
// would take another name for it because it cannot tell "_" from "-": what a
// client sends in a field that the gateway speaks in must not come through.
func Replace(h *wire.Header, name, value string) {
	Drop(h, name)
	h.Add(name, value)
}

// Drop removes the field name in every spelling.
func Drop(h *wire.Header, name string) {
	for i := 0; i < h.Len(); {
		if n := h.At(i).Name; len(n) == len(name) && sameField(n, name) {
			h.Del(n)
			continue
		}
		i++
	}
}

// strip removes the identity fields. The first pass only looks: requests
// seldom have one.
func strip(h *wire.Header) {
	for i := 0; i < h.Len(); {
		if name := h.At(i).Name; isIdentity(name) {
			h.Del(name)
			continue
		}
		i++
	}
}

func isIdentity(name string) bool {
	switch len(name) {
	case len(username): // 19
		return sameField(name, username)
	case len(credential): // 23
		return sameField(name, credential)
	case len(customID): // 20
		return sameField(name, customID)
	}
	return false
}

// sameField compares names of one length without case and with "_" as "-".
func sameField(a, b string) bool {
	for i := range len(a) {
		if folded(a[i]) != folded(b[i]) {
			return false
		}
	}
	return true
}

func folded(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	}
	return c
}
