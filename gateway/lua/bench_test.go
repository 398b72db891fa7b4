package lua

import (
	"testing"
)

func benchmark(b *testing.B, code string) {
	h := host(b, Options{})
	f, err := h.Functions([]string{"return function(conf, ctx) " + code + " end"}, []byte(`{"phase":"access"}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	c := request("/p?a=x", "X-A: 1")
	b.ReportAllocs()
	for b.Loop() {
		c.RespHeader.Reset()
		if _, err := f.Call(c, "access"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNothing(b *testing.B)  { benchmark(b, ``) }
func BenchmarkVariable(b *testing.B) { benchmark(b, `if ctx.var.http_x_a == "2" then return 403 end`) }
func BenchmarkSetHeader(b *testing.B) {
	benchmark(b, `ngx.req.set_header("X-B", conf.phase) ngx.header.x_c = "1"`)
}
func BenchmarkReturn(b *testing.B)   { benchmark(b, `return 403, "no"`) }
func BenchmarkExit(b *testing.B)     { benchmark(b, `ngx.exit(403)`) }
func BenchmarkCtxField(b *testing.B) { benchmark(b, `ctx.mine = "x"`) }

func BenchmarkCondition(b *testing.B) {
	h := host(b, Options{})
	f, err := h.Condition(`function(vars) return vars.arg_a == "x" end`)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	c := request("/p?a=x")
	b.ReportAllocs()
	for b.Loop() {
		if !f.Holds(c) {
			b.Fatal("does not hold")
		}
	}
}

func BenchmarkParallel(b *testing.B) {
	h := host(b, Options{})
	f, err := h.Functions([]string{`return function(conf, ctx) if ctx.var.http_x_a == "2" then return 403 end end`}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	b.RunParallel(func(p *testing.PB) {
		c := request("/p?a=x", "X-A: 1")
		for p.Next() {
			if _, err := f.Call(c, "access"); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkNewState(b *testing.B) {
	h := host(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		newState(h).l.Close()
	}
}
