package uri

import (
	"errors"
	"strings"
)

// TrimSlash takes one slash off the end of a path (delete_uri_tail_slash). The
// root stays.
func TrimSlash(path string) string {
	if len(path) > 1 && path[len(path)-1] == '/' {
		return path[:len(path)-1]
	}
	return path
}

// Servlet strips the ";parameters" of each segment of a canonical path, as
// servlet containers do before they look at it (normalize_uri_like_servlet).
// It refuses what such a container could take for another path.
func Servlet(path string) (string, error) {
	if strings.IndexByte(path, ';') < 0 {
		return path, nil
	}
	b := make([]byte, 0, len(path))
	for path != "" {
		seg, rest, more := strings.Cut(path, "/")
		if name, _, has := strings.Cut(seg, ";"); has {
			switch {
			case name == "." || name == "..":
				return "", errors.New("dot segment with parameter")
			case name == "" && more:
				return "", errors.New("empty segment with parameters")
			case strings.EqualFold(name, "%2e") || strings.EqualFold(name, "%2e%2e"):
				return "", errors.New("encoded dot segment")
			}
			seg = name
		}
		b = append(b, seg...)
		if more {
			b = append(b, '/')
		}
		path = rest
	}
	return string(b), nil
}

// KeepSlashes is the path for matching when encoded slashes stay what they are
// (match_uri_encoded_slash): target's path decoded, but for "%2F". ok is false
// when there is none, or when decoding alone does not lead to path, because
// then nobody could say what the slash was part of.
func KeepSlashes(target, path string) (kept string, ok bool) {
	if i := strings.IndexByte(target, '?'); i >= 0 {
		target = target[:i]
	}
	if !strings.Contains(target, "%2F") && !strings.Contains(target, "%2f") {
		return "", false
	}
	plain := make([]byte, 0, len(target))
	b := make([]byte, 0, len(target))
	for i := 0; i < len(target); i++ {
		x, is := escape(target[i:])
		switch {
		case target[i] != '%' || !is:
			plain, b = append(plain, target[i]), append(b, target[i])
			continue
		case x == '/':
			plain, b = append(plain, x), append(b, "%2F"...)
		default:
			plain, b = append(plain, x), append(b, x)
		}
		i += 2
	}
	if string(plain) != path {
		return "", false
	}
	return string(b), true
}

// Encode writes a decoded path so that it may stand on a request line: what
// would be read as something else, and every byte that is not printable ASCII,
// is escaped. Canonical undoes it.
func Encode(path string) string { return encode(path, mustEscape) }

// EncodeControls escapes control characters only. It is for texts that have
// their query and escapes already, so that no value can break the line.
func EncodeControls(s string) string { return encode(s, isControl) }

func mustEscape(b byte) bool {
	return b <= ' ' || b >= 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", b) >= 0
}

func isControl(b byte) bool { return b < ' ' || b == 0x7f }

func encode(s string, escaped func(byte) bool) string {
	n := 0
	for i := range len(s) {
		if escaped(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if escaped(s[i]) {
			b = append(b, '%', digits[s[i]>>4], digits[s[i]&15])
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}
