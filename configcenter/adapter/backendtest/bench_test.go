package backendtest_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/mvcc"
)

// Writes of many clients at once, in one process.
func BenchmarkPut(b *testing.B) {
	for _, clients := range []int{1, 32} {
		for _, k := range backendtest.Kinds {
			b.Run(fmt.Sprintf("%s/clients=%d", k.Name, clients), func(b *testing.B) {
				s := k.Open(b)
				defer s.Close()
				b.SetParallelism((clients + 1) / 2)
				var n atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := put(b.Context(), s, fmt.Sprint("/key/", n.Add(1)%10000), "some value of the size of a small object"); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

// Reads of many clients at once, each of which sees all that was written before.
func BenchmarkGet(b *testing.B) {
	for _, k := range backendtest.Kinds {
		b.Run(k.Name, func(b *testing.B) {
			s := k.Open(b)
			defer s.Close()
			if _, err := put(b.Context(), s, "/key", "value"); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(16)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					err := s.View(b.Context(), func(tx mvcc.Tx) error {
						_, err := tx.Range(mvcc.NewSpan([]byte("/key"), nil), tx.State().Rev, 1, true)
						return err
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// How long a write of one process takes to reach the watchers of another.
func BenchmarkOtherProcess(b *testing.B) {
	for _, k := range backendtest.Kinds {
		if !k.Shared {
			continue
		}
		b.Run(k.Name, func(b *testing.B) {
			url := k.URL(b)
			writer, reader := backendtest.Open(b, url), backendtest.Open(b, url)
			defer writer.Close()
			defer reader.Close()
			var took []time.Duration
			b.ResetTimer()
			for i := range b.N {
				done := make(chan error, 1)
				var known int64
				if err := reader.View(b.Context(), func(tx mvcc.Tx) error { known = tx.State().Rev; return nil }); err != nil {
					b.Fatal(err)
				}
				go func() { done <- reader.Wait(b.Context(), known) }()
				// The reader is as likely to have waited for long as not.
				pause := time.NewTimer(time.Duration(i%4) * 100 * time.Millisecond)
				<-pause.C
				if _, err := put(b.Context(), writer, "/key", "value"); err != nil {
					b.Fatal(err)
				}
				at := time.Now()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(at))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
		})
	}
}
