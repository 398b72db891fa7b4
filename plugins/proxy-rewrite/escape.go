package proxyrewrite

import "strings"

const hexDigits = "0123456789ABCDEF"

// escapeQuestion keeps a "?" in the value of a variable from beginning a query.
func escapeQuestion(s string) string { return strings.ReplaceAll(s, "?", "%3F") }

// appendSlash begins a target whose text does not begin with a slash.
func appendSlash(b []byte, s string) []byte {
	if strings.HasPrefix(s, "/") {
		return b
	}
	return append(b, '/')
}

// appendPath writes a decoded path with everything escaped that cannot stand
// in one.
func appendPath(b []byte, s string) []byte {
	b = appendSlash(b, s)
	for i := range len(s) {
		x := s[i]
		if x <= ' ' || x >= 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", x) >= 0 {
			b = appendEscape(b, x)
		} else {
			b = append(b, x)
		}
	}
	return b
}

// appendVisible writes what is encoded already and escapes only what would end
// or break a request line.
func appendVisible(b []byte, s string) []byte {
	for i := range len(s) {
		if x := s[i]; x <= ' ' || x == 0x7f {
			b = appendEscape(b, x)
		} else {
			b = append(b, x)
		}
	}
	return b
}

func appendEscape(b []byte, x byte) []byte {
	return append(b, '%', hexDigits[x>>4], hexDigits[x&15])
}

// climbs reports whether the path of a target has a segment "." or "..": cutting
// a piece out of a path can make one ("/api../x" without "/api"), and who
// resolves it leaves what the route is for.
func climbs(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	if !strings.Contains(path, "/.") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
