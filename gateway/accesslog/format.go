// Package accesslog writes one line for each request, in nginx's log format.
// The format is compiled once; a line costs no allocation and never waits for
// the disk: what the disk cannot take is dropped and counted.
//
// It does not know which request is logged why, nor where configuration comes
// from, and installs no signal handlers.
package accesslog

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"sluice/plugins"
)

// DefaultFormat is APISIX's format of the access log.
const DefaultFormat = `$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent $request_time ` +
	`"$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time ` +
	`"$upstream_scheme://$upstream_host$upstream_uri" "$apisix_request_id"`

// The ways to escape values. None still keeps a value from breaking the line.
const (
	EscapeDefault = "default" // \xXX for quotes, backslashes and what is not printable ASCII; "-" for no value
	EscapeJSON    = "json"
	EscapeNone    = "none"
)

// Format is a compiled log format. Safe for concurrent use.
type Format struct {
	ops    []op
	escape func(dst, value []byte) []byte
	needs  *[256]bool // bytes that escape has to change
	absent string     // stands for no value
	stamps [2]atomic.Pointer[stamp]
}

// op writes one part of a line: a literal, and behind it a value or something
// made of the time.
type op struct {
	literal string
	value   plugins.Appender // what plugins set goes before
	builtin plugins.Appender // for requests on which they set nothing
	plain   bool             // nothing in builtin's value needs escaping
	clock   func(f *Format, dst []byte, c *plugins.Ctx, now time.Time) []byte
}

// stamp is a time as text; it holds for one second.
type stamp struct {
	second int64
	text   []byte
}

// Compile reads an nginx log format: $name or ${name} stand for variables, all
// else for itself. escape is one of the Escape constants; "" is the default.
func Compile(format, escape string) (*Format, error) {
	f := &Format{}
	switch escape {
	case "", EscapeDefault:
		f.escape, f.needs, f.absent = escaper(needsHex), needsHex, "-"
	case EscapeJSON:
		f.escape, f.needs = appendJSON, needsJSON
	case EscapeNone:
		f.escape, f.needs = escaper(needsLine), needsLine
	default:
		return nil, fmt.Errorf("access log escape %q: not one of default, json, none", escape)
	}
	for rest := format; rest != ""; {
		literal, _, found := strings.Cut(rest, "$")
		if rest = rest[len(literal):]; !found {
			f.ops = append(f.ops, op{literal: literal})
			break
		}
		name, after, err := variable(rest)
		if err != nil {
			return nil, fmt.Errorf("access log format %q: %w", format, err)
		}
		o := operation(name)
		o.literal = literal
		f.ops = append(f.ops, o)
		rest = after
	}
	return f, nil
}

// variable reads the reference that s begins with.
func variable(s string) (name, rest string, err error) {
	if braced, ok := strings.CutPrefix(s, "${"); ok {
		name, rest, ok = strings.Cut(braced, "}")
		if !ok || name == "" {
			return "", "", fmt.Errorf("variable %q is not closed or empty", s)
		}
		return name, rest, nil
	}
	n := 1
	for n < len(s) && (s[n] == '_' || '0' <= s[n] && s[n] <= '9' || 'a' <= s[n]|0x20 && s[n]|0x20 <= 'z') {
		n++
	}
	if n == 1 {
		return "", "", fmt.Errorf("no variable behind the $ of %q", s)
	}
	return s[1:n], s[n:], nil
}

func operation(name string) op {
	switch name {
	case "time_local":
		return op{clock: stamped(0, plugins.TimeLocal)}
	case "time_iso8601":
		return op{clock: stamped(1, plugins.TimeISO8601)}
	case "msec":
		return op{clock: func(_ *Format, dst []byte, _ *plugins.Ctx, now time.Time) []byte {
			return plugins.AppendSeconds(dst, time.Duration(now.UnixMilli())*time.Millisecond)
		}}
	case "request_time":
		return op{clock: func(_ *Format, dst []byte, c *plugins.Ctx, now time.Time) []byte {
			return plugins.AppendSeconds(dst, now.Sub(c.Start))
		}}
	}
	o := op{value: plugins.VariableAppender(name)}
	o.builtin, o.plain = plugins.BuiltinAppender(name)
	return o
}

// stamped formats the time once a second.
func stamped(slot int, layout string) func(*Format, []byte, *plugins.Ctx, time.Time) []byte {
	return func(f *Format, dst []byte, _ *plugins.Ctx, now time.Time) []byte {
		s := f.stamps[slot].Load()
		if s == nil || s.second != now.Unix() {
			s = &stamp{now.Unix(), now.AppendFormat(nil, layout)}
			f.stamps[slot].Store(s)
		}
		return append(dst, s.text...)
	}
}

// Append writes the line of a finished request, with its newline.
func (f *Format) Append(dst []byte, c *plugins.Ctx, now time.Time) []byte {
	set := c.HasVars()
	for i := range f.ops {
		o := &f.ops[i]
		dst = append(dst, o.literal...)
		switch {
		case o.clock != nil:
			dst = o.clock(f, dst, c, now)
		case o.value == nil:
		case set:
			dst = f.appendValue(dst, o.value, c)
		case o.plain:
			n, ok := len(dst), false
			if dst, ok = o.builtin(c, dst); !ok {
				dst = append(dst[:n], f.absent...)
			}
		default:
			dst = f.appendValue(dst, o.builtin, c)
		}
	}
	return append(dst, '\n')
}

func (f *Format) appendValue(dst []byte, value plugins.Appender, c *plugins.Ctx) []byte {
	n := len(dst)
	dst, ok := value(c, dst)
	if !ok {
		return append(dst[:n], f.absent...)
	}
	for _, b := range doubtful(dst[n:]) {
		if f.needs[b] {
			raw := append([]byte(nil), dst[n:]...)
			return f.escape(dst[:n], raw)
		}
	}
	return dst
}

// doubtful skips bytes that no way of escaping changes, eight at a time, and
// returns what is left to look at. Most values have nothing else.
func doubtful(b []byte) []byte {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		quote, slash, del := x^ones*'"', x^ones*'\\', x^ones*0x7f
		if (x|(x-ones*' ')|(quote-ones)|(slash-ones)|(del-ones))&highs != 0 {
			return b // perhaps: a borrow looks the same
		}
		b = b[8:]
	}
	return b
}

var (
	needsHex  = table(func(b byte) bool { return b < ' ' || b > '~' || b == '"' || b == '\\' })
	needsJSON = table(func(b byte) bool { return b < ' ' || b == '"' || b == '\\' })
	needsLine = table(func(b byte) bool { return b == '\n' || b == '\r' })
)

func table(in func(byte) bool) *[256]bool {
	t := &[256]bool{}
	for i := range t {
		t[i] = in(byte(i))
	}
	return t
}

const digits = "0123456789ABCDEF"

// escaper writes the bytes of a set as \xXX.
func escaper(set *[256]bool) func(dst, value []byte) []byte {
	return func(dst, value []byte) []byte {
		for _, b := range value {
			if set[b] {
				dst = append(dst, '\\', 'x', digits[b>>4], digits[b&15])
				continue
			}
			dst = append(dst, b)
		}
		return dst
	}
}

func appendJSON(dst, value []byte) []byte {
	for _, b := range value {
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		default:
			if b < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', digits[b>>4], digits[b&15])
				continue
			}
			dst = append(dst, b)
		}
	}
	return dst
}
