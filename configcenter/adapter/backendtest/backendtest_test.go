package backendtest_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/adapter/mvcc"
)

func TestMain(m *testing.M) { os.Exit(backendtest.Run(m)) }

// put appends one row; it says at which revision.
func put(ctx context.Context, b mvcc.Backend, key, value string) (rev int64, err error) {
	err = b.Update(ctx, func(tx mvcc.WriteTx) error {
		rev = tx.State().Rev + 1
		rows, err := tx.Range(mvcc.NewSpan([]byte(key), nil), rev-1, 1, true)
		if err != nil {
			return err
		}
		r := mvcc.Row{Rev: rev, Key: []byte(key), Value: []byte(value), Create: rev, Version: 1}
		if len(rows) > 0 {
			r.Create, r.Version = rows[0].Create, rows[0].Version+1
		}
		return tx.Append(r)
	})
	return rev, err
}

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
