package expr

import (
	"math"
	"strconv"
	"strings"
)

// toNumber reads a number as LuaJIT's tonumber does: space around it, a sign,
// decimal with fraction and exponent, hexadecimal with fraction and binary
// exponent, binary, inf and nan.
func toNumber(s string) (float64, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	text := s
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	if s[0] >= 'A' {
		return wordNumber(s, negative)
	}
	if len(s) > 1 && s[0] == '0' {
		switch s[1] | 0x20 {
		case 'x':
			return hexNumber(s[2:], negative)
		case 'b':
			return binaryNumber(s[2:], negative)
		}
	}
	if !isDecimal(s) {
		return 0, false // told apart here, since errors of strconv are allocated
	}
	f, _ := strconv.ParseFloat(text, 64)
	return f, true
}

// isDecimal says whether s is digits with a point and an exponent or without.
func isDecimal(s string) bool {
	digits, point := 0, false
	i := 0
	for ; i < len(s) && (isDigit(s[i]) || s[i] == '.' && !point); i++ {
		if s[i] == '.' {
			point = true
		} else {
			digits++
		}
	}
	if digits == 0 {
		return false
	}
	return i == len(s) || s[i]|0x20 == 'e' && isInteger(s[i+1:])
}

// isInteger says whether s is digits with a sign or without.
func isInteger(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func wordNumber(s string, negative bool) (float64, bool) {
	switch {
	case strings.EqualFold(s, "inf"), strings.EqualFold(s, "infinity"):
		if negative {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	case strings.EqualFold(s, "nan"):
		return math.NaN(), true
	}
	return 0, false
}

func hexNumber(s string, negative bool) (float64, bool) {
	f := 0.0
	digits, after := 0, 0
	point := false
	i := 0
	for ; i < len(s); i++ {
		if s[i] == '.' && !point {
			point = true
			continue
		}
		d, ok := hexDigit(s[i])
		if !ok {
			break
		}
		f = f*16 + float64(d)
		digits++
		if point {
			after++
		}
	}
	if digits == 0 {
		return 0, false
	}
	exp := 0
	if i < len(s) {
		if s[i]|0x20 != 'p' {
			return 0, false
		}
		if !isInteger(s[i+1:]) {
			return 0, false
		}
		exp, _ = strconv.Atoi(s[i+1:]) // out of range is the largest there is
	}
	f = math.Ldexp(f, max(min(exp, 1<<20), -(1<<20))-4*after)
	if negative {
		f = -f
	}
	return f, true
}

func hexDigit(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10, true
	}
	return 0, false
}

func binaryNumber(s string, negative bool) (float64, bool) {
	n, err := strconv.ParseUint(s, 2, 64)
	if err != nil {
		return 0, false
	}
	f := float64(n)
	if negative {
		f = -f
	}
	return f, true
}

// numberText prints a number as Lua does.
func numberText(f float64) string {
	return strconv.FormatFloat(f, 'g', 14, 64)
}
