package wire

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// class is a set of character classes a byte belongs to.
type class uint8

const (
	inToken  class = 1 << iota // a field name or transfer coding
	inMethod                   // what nginx takes for a method
	inTarget                   // a request target
	inHost                     // a registered name
)

var classes = classTable()

func classTable() (t [256]class) {
	set := func(c class, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	const upper, lower, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	set(inToken, upper+lower+digits+"!#$%&'*+-.^_`|~")
	set(inMethod, upper+"-_")
	set(inHost, upper+lower+digits+"-._~%!$&'()*+,;=")
	for c := 0x21; c < 0x100; c++ {
		if c != 0x7f && c != '#' {
			t[c] |= inTarget
		}
	}
	return t
}

func all(s string, c class) bool {
	for i := range len(s) {
		if classes[s[i]]&c == 0 {
			return false
		}
	}
	return true
}

// text makes a string of b without copying it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// control returns the index of the first byte of b that a field value must not
// hold (a control other than tab, or DEL), or len(b).
func control(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		low := (x - ones*0x20) & ^x & highs // bytes below 0x20 (exact up to the first)
		d := x ^ ones*0x7f
		del := (d - ones) & ^d & highs
		if m := low | del; m != 0 {
			j := i + bits.TrailingZeros64(m)/8
			if b[j] != '\t' {
				return j
			}
			i = j + 1 - 8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return i
		}
	}
	return len(b)
}

// clean reports whether v may stand in a field value.
func clean(v string) bool {
	b := unsafe.Slice(unsafe.StringData(v), len(v))
	return control(b) == len(b)
}

// validHost reports whether s is a host with an optional port.
func validHost(s string) bool {
	if s == "" {
		return false
	}
	if s[0] == '[' {
		i := 1
		for i < len(s) && (isHex(s[i]) || s[i] == ':' || s[i] == '.') {
			i++
		}
		return i > 2 && i < len(s) && s[i] == ']' && validPort(s[i+1:])
	}
	i := 0
	for i < len(s) && classes[s[i]]&inHost != 0 {
		i++
	}
	return i > 0 && validPort(s[i:])
}

func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for _, c := range []byte(s[1:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return unhex(c) < 16 }

func unhex(c byte) uint {
	switch {
	case '0' <= c && c <= '9':
		return uint(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return uint(c|0x20-'a') + 10
	}
	return 16
}

// parseLength reads a Content-Length: digits only, below 2^62.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}

// trimOWS cuts spaces and tabs from both ends.
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(list string) (tok, rest string) {
	for i := range len(list) {
		if list[i] == ',' {
			return trimOWS(list[:i]), list[i+1:]
		}
	}
	return trimOWS(list), ""
}
