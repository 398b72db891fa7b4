// Package uri turns the target of a request into the one path that everybody
// in the gateway sees, and paths back into what may stand on a request line.
// It decides as nginx does, so that a rule written for $uri holds.
//
// It knows no routes and no requests: it only sees strings.
package uri

import "errors"

// The reasons for refusing a target; the client gets 400.
var (
	ErrForm    = errors.New("target is not an absolute path")
	ErrControl = errors.New("target has a control character or a space")
	ErrEscape  = errors.New("target has an invalid percent escape")
	ErrClimb   = errors.New("target climbs above the root")
)

// Canonical splits a target in origin form into its canonical path and its raw
// query: escapes are decoded, dot segments resolved, repeated slashes merged, a
// fragment is cut off. A target that is canonical already costs one scan and
// no allocation: path and query then point into it.
func Canonical(target string) (path, query string, err error) {
	if target == "" || target[0] != '/' {
		return "", "", ErrForm
	}
	end, plain := len(target), true
scan:
	for i := 1; i < len(target); i++ {
		switch b := target[i]; {
		case b == '?' || b == '#':
			end = i
			break scan
		case b == '%':
			plain = false
		case b == '.' || b == '/':
			if target[i-1] == '/' {
				plain = false
			}
		case b <= ' ' || b == 0x7f:
			return "", "", ErrControl
		}
	}
	if query, err = queryOf(target[end:]); err != nil {
		return "", "", err
	}
	path = target[:end]
	if plain {
		return path, query, nil
	}
	path, err = resolve(path)
	return path, query, err
}

// queryOf takes what follows the path: "?query", "#fragment", both or nothing.
func queryOf(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	from, end := 1, len(s)
	if s[0] == '#' {
		end = 1
	}
	for i := 1; i < len(s); i++ {
		switch b := s[i]; {
		case b <= ' ' || b == 0x7f:
			return "", ErrControl
		case b == '#' && end == len(s):
			end = i
		}
	}
	return s[from:end], nil
}

// resolve does what a scan cannot: escapes, dots and slashes.
func resolve(path string) (string, error) {
	var space [512]byte
	b := space[:0]
	if len(path) > len(space) {
		b = make([]byte, 0, len(path))
	}
	for i := 0; i < len(path); i++ {
		ch, literal := path[i], false
		if ch == '%' {
			x, ok := escape(path[i:])
			if !ok || x == 0 {
				return "", ErrEscape
			}
			i += 2
			// An escaped delimiter is a letter like any other.
			ch, literal = x, x == '%' || x == '#' || x == '?'
		}
		if ch == '/' && !literal {
			var ok bool
			if b, ok = closeSegment(b); !ok {
				return "", ErrClimb
			}
			if len(b) > 0 && b[len(b)-1] == '/' {
				continue
			}
		}
		b = append(b, ch)
	}
	b, ok := closeSegment(b)
	if !ok {
		return "", ErrClimb
	}
	if len(b) <= len(path) && string(b) == path[:len(b)] {
		return path[:len(b)], nil
	}
	return string(b), nil
}

// closeSegment removes the segment that b ends in when it is made of dots.
func closeSegment(b []byte) ([]byte, bool) {
	n := len(b)
	switch {
	case n >= 2 && b[n-1] == '.' && b[n-2] == '/':
		return b[:n-1], true
	case n >= 3 && b[n-1] == '.' && b[n-2] == '.' && b[n-3] == '/':
		for n -= 4; n >= 0; n-- {
			if b[n] == '/' {
				return b[:n+1], true
			}
		}
		return b, false
	}
	return b, true
}

// escape reads the %XX that s begins with.
func escape(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := hex(s[1])
	lo, ok2 := hex(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func hex(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10, true
	}
	return 0, false
}
