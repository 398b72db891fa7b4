package requestvalidation

import "bytes"

// reader reads JSON once, judging as it goes. Its methods report false for what
// they do not understand beyond doubt.
type reader struct {
	b  []byte
	at int
}

const (
	maxDepth   = 64
	maxUnknown = 16 // members of an object that its shape does not name
)

// blank skips white space and returns the next byte, 0 at the end.
func (r *reader) blank() byte {
	for r.at < len(r.b) {
		switch c := r.b[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		case 0:
			return 1 // no end
		default:
			return c
		}
	}
	return 0
}

func (r *reader) value(s *shape, depth int) bool {
	switch c := r.blank(); {
	case c == '{':
		return depth < maxDepth && s.allows(object) && (s == nil || s.enum == nil) && r.object(s, depth+1)
	case c == '[':
		return depth < maxDepth && s.allows(array) && (s == nil || s.enum == nil) && r.array(s, depth+1)
	case c == '"':
		t, ok := r.text()
		return ok && s.allows(text) && s.allowsText(t)
	case c == '-' || '0' <= c && c <= '9':
		return r.number(s)
	case c == 't':
		return r.word("true", s, boolean)
	case c == 'f':
		return r.word("false", s, boolean)
	case c == 'n':
		return r.word("null", s, null)
	}
	return false
}

func (r *reader) word(w string, s *shape, k kinds) bool {
	if !bytes.HasPrefix(r.b[r.at:], []byte(w)) || !s.allows(k) || s != nil && s.enum != nil {
		return false
	}
	r.at += len(w)
	return true
}

// text reads a string that has no escapes.
func (r *reader) text() ([]byte, bool) {
	start := r.at + 1
	for i := start; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			r.at = i + 1
			return r.b[start:i], true
		case c == '\\', c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// number reads a number of a few digits.
func (r *reader) number(s *shape) bool {
	start := r.at
	if r.b[r.at] == '-' {
		r.at++
	}
	first := r.at
	n := r.digits()
	if r.at == first || r.b[first] == '0' && r.at > first+1 {
		return false
	}
	if r.b[start] == '-' {
		n = -n
	}
	kind := integer
	if r.at < len(r.b) && r.b[r.at] == '.' {
		kind = number
		r.at++
		if i := r.at; r.digits() < 0 || r.at == i {
			return false
		}
	}
	if r.at-first > 15 || r.at < len(r.b) && r.b[r.at]|0x20 == 'e' {
		return false // floats may not hold it
	}
	if s == nil {
		return true
	}
	return s.allows(kind) && s.enum == nil && (!s.bounded || kind == integer && n >= s.min && n <= s.max)
}

// digits skips digits and returns their value, as far as it fits.
func (r *reader) digits() (n int64) {
	for r.at < len(r.b) && '0' <= r.b[r.at] && r.b[r.at] <= '9' {
		if n < maxInteger {
			n = n*10 + int64(r.b[r.at]-'0')
		}
		r.at++
	}
	return n
}

func (r *reader) array(s *shape, depth int) bool {
	r.at++
	var items *shape
	if s != nil {
		items = s.items
	}
	if r.blank() == ']' {
		return false // may stand for an empty object
	}
	for {
		if !r.value(items, depth) {
			return false
		}
		switch r.blank() {
		case ',':
			r.at++
		case ']':
			r.at++
			return true
		default:
			return false
		}
	}
}

func (r *reader) object(s *shape, depth int) bool {
	r.at++
	var unknown [maxUnknown][]byte
	seen, others := uint64(0), 0
	if r.blank() == '}' {
		return false // may stand for an empty array
	}
	for {
		if r.blank() != '"' {
			return false
		}
		name, ok := r.text()
		if !ok || r.blank() != ':' {
			return false
		}
		r.at++
		var inner *shape
		if i := s.index(name); i >= 0 {
			if seen&(1<<i) != 0 {
				return false
			}
			seen |= 1 << i
			inner = s.properties[i]
		} else {
			if s != nil && s.closed || others == maxUnknown {
				return false
			}
			for _, before := range unknown[:others] {
				if bytes.Equal(before, name) {
					return false
				}
			}
			unknown[others] = name
			others++
		}
		if !r.value(inner, depth) {
			return false
		}
		switch r.blank() {
		case ',':
			r.at++
		case '}':
			r.at++
			return s == nil || seen&s.required == s.required
		default:
			return false
		}
	}
}

// index is that of the property called name, or -1.
func (s *shape) index(name []byte) int {
	if s != nil {
		for i, known := range s.names {
			if known == string(name) {
				return i
			}
		}
	}
	return -1
}
