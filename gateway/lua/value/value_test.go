package value

import (
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
)

func TestRoundTrip(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[1,2.5,null,true,"x"]}`: `{"b":1,"a":[1,2.5,null,true,"x"]}`,
		`[]`:                                `[]`, `{}`: `{}`, `{"a":{},"b":[]}`: `{"a":{},"b":[]}`,
		`1e20`: `1e+20`, `-0.1`: `-0.1`, `123456789012345`: `1.2345678901234e+14`, `0.00001`: `1e-05`,
		`"a\/\u0001\n\u007f"`: `"a/\u0001\n\u007f"`,
	} {
		v, err := Decode([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		var e Encoder
		e.Limit = 1000
		b, err := e.Encode(v)
		if err != nil || string(b) != want {
			t.Errorf("%s: %s, %v, want %s", in, b, err, want)
		}
	}
	for _, in := range []string{"", "{", "[1,]", "nul", "1 2", strings.Repeat("[", 2000)} {
		if _, err := Decode([]byte(in)); err == nil {
			t.Errorf("%.20s is taken", in)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	sparse := Table()
	sparse.RawSetInt(100, lua.LTrue)
	self := Table()
	self.RawSetString("me", self)
	for name, v := range map[string]lua.LValue{"sparse": sparse, "endless": self, "function": &lua.LFunction{}} {
		if _, err := (&Encoder{Limit: 1 << 20}).Encode(v); err == nil {
			t.Errorf("%s is encoded", name)
		}
	}
	if b, err := (&Encoder{Limit: 1 << 20, Sorted: true}).Encode(func() lua.LValue {
		m := Table()
		m.RawSetString("z", lua.LNumber(1))
		m.RawSetString("a", lua.LNumber(2))
		return m
	}()); string(b) != `{"a":2,"z":1}` || err != nil {
		t.Errorf("%s %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1,{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Decode(b); err == nil {
			if _, err := (&Encoder{Limit: 1 << 20}).Encode(v); err != nil && !strings.Contains(err.Error(), "serialise") {
				t.Error(err)
			}
		}
	})
}

// TestPrintedEnds: tables within tables are not walked over for ever, nor do
// they make more text than memory has.
func TestPrintedEnds(t *testing.T) {
	for _, first := range []lua.LValue{Table(), lua.LString(strings.Repeat("x", 1000))} {
		v := first
		for range 60 {
			pair := Table()
			pair.Append(v)
			pair.Append(v)
			v = pair
		}
		if n := len(AppendPrinted(nil, v)); n > maxPrinted {
			t.Errorf("%d bytes", n)
		}
	}
}
