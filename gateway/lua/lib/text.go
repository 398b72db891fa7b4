// Package lib has those functions of Lua's libraries that see no request: texts,
// regular expressions, shared dictionaries, digests, HTTP outwards.
//
// It does not know interpreters' owners: it gets one with each call.
package lib

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// Table makes a table of functions.
func Table(l *lua.LState, fns map[string]lua.LGFunction) *lua.LTable {
	t := l.CreateTable(0, len(fns))
	for name, f := range fns {
		t.RawSetString(name, l.NewFunction(f))
	}
	return t
}

// Fail returns nil and a message, as functions of ngx do.
func Fail(l *lua.LState, msg string) int {
	l.Push(lua.LNil)
	l.Push(lua.LString(msg))
	return 2
}

// Text are those of ngx that only look at their arguments.
var Text = map[string]lua.LGFunction{
	"encode_base64": func(l *lua.LState) int {
		enc := base64.StdEncoding
		if l.OptBool(2, false) {
			enc = base64.RawStdEncoding
		}
		l.Push(lua.LString(enc.EncodeToString([]byte(ArgText(l, 1)))))
		return 1
	},
	"decode_base64":     func(l *lua.LState) int { return decodeBase64(l, base64.RawStdEncoding) },
	"decode_base64mime": func(l *lua.LState) int { return decodeBase64(l, base64.RawStdEncoding) },
	"md5": func(l *lua.LState) int {
		sum := md5.Sum([]byte(ArgText(l, 1)))
		l.Push(lua.LString(hex.EncodeToString(sum[:])))
		return 1
	},
	"md5_bin": func(l *lua.LState) int {
		sum := md5.Sum([]byte(ArgText(l, 1)))
		l.Push(lua.LString(sum[:]))
		return 1
	},
	"sha1_bin": func(l *lua.LState) int {
		sum := sha1.Sum([]byte(ArgText(l, 1)))
		l.Push(lua.LString(sum[:]))
		return 1
	},
	"hmac_sha1": func(l *lua.LState) int {
		m := hmac.New(sha1.New, []byte(ArgText(l, 1)))
		m.Write([]byte(ArgText(l, 2)))
		l.Push(lua.LString(m.Sum(nil)))
		return 1
	},
	"crc32_short":  func(l *lua.LState) int { return pushCRC(l) },
	"crc32_long":   func(l *lua.LState) int { return pushCRC(l) },
	"escape_uri":   func(l *lua.LState) int { l.Push(lua.LString(EscapeURI(ArgText(l, 1)))); return 1 },
	"unescape_uri": func(l *lua.LState) int { l.Push(lua.LString(UnescapeURI(ArgText(l, 1)))); return 1 },
	"encode_args":  func(l *lua.LState) int { l.Push(lua.LString(EncodeArgs(l, l.CheckTable(1)))); return 1 },
	"decode_args": func(l *lua.LState) int {
		t, _ := DecodeArgs(l, l.CheckString(1), l.OptInt(2, MaxArgs))
		l.Push(t)
		return 1
	},
	"quote_sql_str": func(l *lua.LState) int { l.Push(lua.LString(quoteSQL(ArgText(l, 1)))); return 1 },
}

// ArgText is an argument as text: nil is empty.
func ArgText(l *lua.LState, i int) string {
	if l.Get(i) == lua.LNil {
		return ""
	}
	return value.Text(l.Get(i))
}

func decodeBase64(l *lua.LState, enc *base64.Encoding) int {
	b, err := enc.DecodeString(strings.TrimRight(l.CheckString(1), "="))
	if err != nil {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(lua.LString(b))
	return 1
}

func pushCRC(l *lua.LState) int {
	l.Push(lua.LNumber(crc32.ChecksumIEEE([]byte(ArgText(l, 1)))))
	return 1
}

// EscapeURI escapes a URI component.
func EscapeURI(s string) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if !unreserved(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!*'()", c) >= 0
}

// UnescapeURI decodes %XX and "+"; a "%" that begins no escape stays.
func UnescapeURI(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return strings.Clone(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(s) {
			var x [1]byte
			if _, err := hex.Decode(x[:], []byte(s[i+1:i+3])); err == nil {
				c = x[0]
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

var sqlQuotes = strings.NewReplacer("\x00", `\0`, "\b", `\b`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x1a", `\Z`,
	`\`, `\\`, "'", `\'`, `"`, `\"`)

func quoteSQL(s string) string { return "'" + sqlQuotes.Replace(s) + "'" }

// LastToken is the last entry of a list like "0.1, 0.2 : 0.3".
func LastToken(l *lua.LState) int {
	text := ArgText(l, 1)
	if i := strings.LastIndexAny(text, ",:"); i >= 0 {
		text = text[i+1:]
	}
	l.Push(lua.LString(strings.TrimSpace(text)))
	return 1
}
