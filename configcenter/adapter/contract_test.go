package adapter_test

import (
	"log/slog"
	"testing"

	"sluice/configcenter/contract"
	"sluice/configcenter/etcd"
)

// A gateway cannot tell the adapter from an etcd.
func TestContract(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			contract.Run(t, func(t *testing.T) contract.Center {
				c := must(etcd.Open(etcd.Config{Endpoints: []string{"http://" + serve(t, open(t))}, Log: slog.New(slog.DiscardHandler)}))(t)
				t.Cleanup(func() { c.Close() })
				return c
			})
		})
	}
}
