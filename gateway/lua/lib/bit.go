package lib

import lua "github.com/yuin/gopher-lua"

// Bits is LuaJIT's bit library.
var Bits = map[string]lua.LGFunction{
	"band":    fold(func(a, b int32) int32 { return a & b }),
	"bor":     fold(func(a, b int32) int32 { return a | b }),
	"bxor":    fold(func(a, b int32) int32 { return a ^ b }),
	"lshift":  shift(func(a int32, n uint) int32 { return a << n }),
	"rshift":  shift(func(a int32, n uint) int32 { return int32(uint32(a) >> n) }),
	"arshift": shift(func(a int32, n uint) int32 { return a >> n }),
	"rol":     shift(func(a int32, n uint) int32 { return int32(uint32(a)<<n | uint32(a)>>(32-n)) }),
	"ror":     shift(func(a int32, n uint) int32 { return int32(uint32(a)>>n | uint32(a)<<(32-n)) }),
	"bnot":    func(l *lua.LState) int { l.Push(lua.LNumber(^bit32(l, 1))); return 1 },
	"tobit":   func(l *lua.LState) int { l.Push(lua.LNumber(bit32(l, 1))); return 1 },
	"tohex":   tohex,
	"bswap": func(l *lua.LState) int {
		v := uint32(bit32(l, 1))
		l.Push(lua.LNumber(int32(v<<24 | v<<8&0xff0000 | v>>8&0xff00 | v>>24)))
		return 1
	},
}

func bit32(l *lua.LState, i int) int32 { return int32(uint32(int64(l.CheckNumber(i)))) }

func fold(f func(a, b int32) int32) lua.LGFunction {
	return func(l *lua.LState) int {
		v := bit32(l, 1)
		for i := 2; i <= l.GetTop(); i++ {
			v = f(v, bit32(l, i))
		}
		l.Push(lua.LNumber(v))
		return 1
	}
}

func shift(f func(int32, uint) int32) lua.LGFunction {
	return func(l *lua.LState) int {
		l.Push(lua.LNumber(f(bit32(l, 1), uint(bit32(l, 2))&31)))
		return 1
	}
}

func tohex(l *lua.LState) int {
	digits := "0123456789abcdef"
	n := l.OptInt(2, 8)
	if n < 0 {
		n, digits = -n, "0123456789ABCDEF"
	}
	n = min(n, 8)
	v := uint32(bit32(l, 1))
	b := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		b[i] = digits[v&15]
		v >>= 4
	}
	l.Push(lua.LString(b))
	return 1
}
