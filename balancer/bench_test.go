package balancer

import (
	"fmt"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, kind := range []string{"roundrobin", "chash", "least_conn", "ewma"} {
		for _, n := range []int{1, 3, 100} {
			p := Kinds[kind](equal(n))
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					p.Pick(uint64(i)*2654435761, nil)
				}
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := uint64(0); pb.Next(); i++ {
						p.Pick(i*2654435761, nil)
					}
				})
			})
		}
	}
	b.Run("least_conn/100/loaded", func(b *testing.B) {
		eps := equal(100)
		for _, e := range eps {
			for range 3 {
				own(eps)
				e.Begin()
			}
		}
		p := Kinds["least_conn"](eps)
		b.ReportAllocs()
		for b.Loop() {
			p.Pick(0, nil)
		}
	})
	b.Run("roundrobin/weighted", func(b *testing.B) {
		p := Kinds["roundrobin"](servers(1000, 999, 7, 100, 50))
		b.ReportAllocs()
		for b.Loop() {
			p.Pick(0, nil)
		}
	})
}

func BenchmarkHashKey(b *testing.B) {
	key := "/a/rather/long/path/that/somebody/hashes/on?with=arguments&and=more"
	b.ReportAllocs()
	for b.Loop() {
		HashKey(key)
	}
}

func BenchmarkNewRing(b *testing.B) {
	eps := equal(100)
	b.ReportAllocs()
	for b.Loop() {
		newRing(eps)
	}
}
