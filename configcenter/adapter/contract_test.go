package adapter_test

import (
	"log/slog"
	"testing"

	"sluice/configcenter/adapter/backendtest"
	"sluice/configcenter/contract"
	"sluice/configcenter/etcd"
)

// A gateway cannot tell the adapter from an etcd.
func TestContract(t *testing.T) {
	for _, kind := range backendtest.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			contract.Run(t, func(t *testing.T) contract.Center {
				c := must(etcd.Open(etcd.Config{Endpoints: []string{"http://" + serve(t, kind.Open(t))}, Log: slog.New(slog.DiscardHandler)}))(t)
				t.Cleanup(func() { c.Close() })
				return c
			})
		})
	}
}
