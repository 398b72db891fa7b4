package lua

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// textFunctions are those of ngx that only look at their arguments.
var textFunctions = map[string]lua.LGFunction{
	"encode_base64": func(l *lua.LState) int {
		enc := base64.StdEncoding
		if l.OptBool(2, false) {
			enc = base64.RawStdEncoding
		}
		l.Push(lua.LString(enc.EncodeToString([]byte(argText(l, 1)))))
		return 1
	},
	"decode_base64":     func(l *lua.LState) int { return decodeBase64(l, base64.RawStdEncoding) },
	"decode_base64mime": func(l *lua.LState) int { return decodeBase64(l, base64.RawStdEncoding) },
	"md5": func(l *lua.LState) int {
		sum := md5.Sum([]byte(argText(l, 1)))
		l.Push(lua.LString(hex.EncodeToString(sum[:])))
		return 1
	},
	"md5_bin": func(l *lua.LState) int {
		sum := md5.Sum([]byte(argText(l, 1)))
		l.Push(lua.LString(sum[:]))
		return 1
	},
	"sha1_bin": func(l *lua.LState) int {
		sum := sha1.Sum([]byte(argText(l, 1)))
		l.Push(lua.LString(sum[:]))
		return 1
	},
	"hmac_sha1": func(l *lua.LState) int {
		m := hmac.New(sha1.New, []byte(argText(l, 1)))
		m.Write([]byte(argText(l, 2)))
		l.Push(lua.LString(m.Sum(nil)))
		return 1
	},
	"crc32_short":  func(l *lua.LState) int { return pushCRC(l) },
	"crc32_long":   func(l *lua.LState) int { return pushCRC(l) },
	"escape_uri":   func(l *lua.LState) int { l.Push(lua.LString(escapeURI(argText(l, 1)))); return 1 },
	"unescape_uri": func(l *lua.LState) int { l.Push(lua.LString(unescapeURI(argText(l, 1)))); return 1 },
	"encode_args":  func(l *lua.LState) int { l.Push(lua.LString(encodeArgs(l, l.CheckTable(1)))); return 1 },
	"decode_args": func(l *lua.LState) int {
		t, _ := decodeArgs(l, l.CheckString(1), l.OptInt(2, maxArgs))
		l.Push(t)
		return 1
	},
	"quote_sql_str": func(l *lua.LState) int { l.Push(lua.LString(quoteSQL(argText(l, 1)))); return 1 },
}

// argText is an argument as text: nil is empty.
func argText(l *lua.LState, i int) string {
	if l.Get(i) == lua.LNil {
		return ""
	}
	return string(appendPrinted(nil, l.Get(i), 0))
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
	l.Push(lua.LNumber(crc32.ChecksumIEEE([]byte(argText(l, 1)))))
	return 1
}

// escapeURI escapes a URI component.
func escapeURI(s string) string {
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

// unescapeURI decodes %XX and "+"; a "%" that begins no escape stays.
func unescapeURI(s string) string {
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
