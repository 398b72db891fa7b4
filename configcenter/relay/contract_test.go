package relay_test

import (
	"log/slog"
	"testing"

	"sluice/configcenter/contract"
	"sluice/configcenter/etcd"
	"sluice/configcenter/relay"
)

// A gateway cannot tell the relay from an etcd.
func TestContract(t *testing.T) {
	for name, namespace := range map[string]string{"plain": "", "namespace": "/team/"} {
		t.Run(name, func(t *testing.T) {
			contract.Run(t, func(t *testing.T) contract.Center {
				addr := start(t, relay.Config{Endpoints: []string{realEtcd(t)}, Namespace: namespace})
				c := must(etcd.Open(etcd.Config{Endpoints: []string{"http://" + addr}, Log: slog.New(slog.DiscardHandler)}))(t)
				t.Cleanup(func() { c.Close() })
				return c
			})
		})
	}
}
