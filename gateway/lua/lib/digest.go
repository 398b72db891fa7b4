package lib

import (
	"encoding/hex"
	"hash"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"sluice/gateway/lua/value"
)

// RestyString is the module resty.string.
var RestyString = map[string]lua.LGFunction{
	"to_hex": func(l *lua.LState) int { l.Push(lua.LString(hex.EncodeToString([]byte(l.CheckString(1))))); return 1 },
	"atoi": func(l *lua.LState) int {
		n, _ := lua.LVAsNumber(lua.LString(l.CheckString(1))), 0
		l.Push(n)
		return 1
	},
}

// Digest makes a module like resty.sha256: new, update, final, reset.
func Digest(l *lua.LState, mk func() hash.Hash) *lua.LTable {
	of := func(l *lua.LState) hash.Hash {
		h, ok := l.CheckUserData(1).Value.(hash.Hash)
		if !ok {
			l.ArgError(1, "digest expected")
		}
		return h
	}
	mt := value.Table()
	mt.RawSetString("__metatable", lua.LFalse)
	mt.RawSetString("__index", Table(l, map[string]lua.LGFunction{
		"update": func(l *lua.LState) int {
			of(l).Write([]byte(l.CheckString(2)))
			l.Push(lua.LTrue)
			return 1
		},
		"final": func(l *lua.LState) int { l.Push(lua.LString(of(l).Sum(nil))); return 1 },
		"reset": func(l *lua.LState) int { of(l).Reset(); l.Push(lua.LTrue); return 1 },
	}))
	return Table(l, map[string]lua.LGFunction{"new": func(l *lua.LState) int {
		ud := l.NewUserData()
		ud.Value, ud.Metatable = mk(), mt
		l.Push(ud)
		return 1
	}})
}

// ParseURL is net.url's parse, as far as users need it.
func ParseURL(l *lua.LState) int {
	rest := l.CheckString(1)
	t := l.NewTable()
	set := func(name, v string) {
		if v != "" {
			t.RawSetString(name, lua.LString(v))
		}
	}
	var fragment, query string
	rest, fragment, _ = strings.Cut(rest, "#")
	rest, query, _ = strings.Cut(rest, "?")
	set("fragment", fragment)
	args, _ := DecodeArgs(l, query, 0)
	t.RawSetString("query", args)
	if i := strings.Index(rest, "://"); i > 0 {
		set("scheme", strings.ToLower(rest[:i]))
		rest = rest[i+1:]
	}
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		i := strings.IndexByte(authority, '/')
		if i < 0 {
			i = len(authority)
		}
		authority, rest = authority[:i], authority[i:]
		set("authority", authority)
		if user, host, ok := strings.Cut(authority, "@"); ok {
			authority = host
			user, password, _ := strings.Cut(user, ":")
			set("user", user)
			set("password", password)
			set("userinfo", user)
		}
		if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
			if n, ok := lua.LVAsNumber(lua.LString(authority[i+1:])), true; ok {
				t.RawSetString("port", n)
			}
			authority = authority[:i]
		}
		set("host", authority)
	}
	set("path", normalPath(rest))
	l.Push(t)
	return 1
}

// normalPath decodes what need not be escaped in a path, and escapes the rest.
func normalPath(p string) string {
	const legal = "-_.~!$&'()*+,;=:@/"
	var b []byte
	for i := 0; i < len(p); i++ {
		c := p[i]
		escaped := false
		if c == '%' && i+2 < len(p) {
			if x, err := hex.DecodeString(p[i+1 : i+3]); err == nil {
				c, escaped = x[0], true
				i += 2
			}
		}
		plainChar := unreserved(c) || c == '_' || slices.Contains([]byte(legal), c)
		if plainChar && (!escaped || c != '/') {
			b = append(b, c)
		} else {
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return string(b)
}
