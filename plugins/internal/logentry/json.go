package logentry

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendString writes s as a JSON string. What is not UTF-8 becomes the
// replacement character.
func AppendString[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= ' ' && b != '"' && b != '\\' && b != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
			i++
			start = i
			continue
		}
		end := min(i+utf8.UTFMax, len(s))
		r, n := utf8.DecodeRuneInString(string(s[i:end]))
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + 1
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendMillis writes d in milliseconds, with the microseconds behind the point.
func AppendMillis(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, float64(max(d, 0).Microseconds())/1000, 'f', -1, 64)
}

// object writes the commas of a JSON object.
type object struct {
	b     []byte
	empty bool
}

func (o *object) open() {
	o.b = append(o.b, '{')
	o.empty = true
}

// member writes a name that needs no escapes, up to its colon.
func (o *object) member(name string) {
	o.comma()
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) comma() {
	if !o.empty {
		o.b = append(o.b, ',')
	}
	o.empty = false
}

func (o *object) close() {
	o.b = append(o.b, '}')
	o.empty = false
}

func (o *object) text(name, value string) {
	o.member(name)
	o.b = AppendString(o.b, value)
}
