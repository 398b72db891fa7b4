package plugins

import (
	"context"
	"fmt"
	"testing"

	"sluice/gateway/tally"
	"sluice/gateway/wire"
)

// BenchmarkChain is what the runner adds to instances that do nothing, in a
// request that is not timed and in one that is.
func BenchmarkChain(b *testing.B) {
	nothing := every(func() error { return nil })
	nothing.Log = func(*Ctx) {}
	for _, n := range []int{1, 10} {
		book := &tally.Book{}
		var list []*Instance
		for i := range n {
			list = append(list, instanceOf(fmt.Sprint("p", i), false, nothing, book))
		}
		ch := NewChain(list, nil)
		for _, timed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/timed=%v", n, timed), func(b *testing.B) {
				c := &Ctx{}
				c.Reset(context.Background(), &wire.Request{}, nil, nil)
				c.Resp = &wire.Response{Status: 200}
				piece := []byte("piece")
				b.ReportAllocs()
				for b.Loop() {
					if timed {
						c.timeline.Begin(true)
					}
					_, _ = ch.Rewrite(c)
					_, _ = ch.Access(c)
					_, _ = ch.BeforeProxy(c)
					_ = ch.HeaderFilter(c)
					_, _ = ch.BodyFilter(c, piece, true)
					ch.Log(c)
					if timed {
						c.timeline.End()
					}
				}
			})
		}
	}
}
