package relay_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"sluice/configcenter/contract"
	"sluice/configcenter/etcd"
	"sluice/configcenter/relay"
)

// A gateway cannot tell the relay from an etcd. Each part of the suite has a
// namespace of its own, which is empty.
func TestContract(t *testing.T) {
	t.Parallel()
	store := realEtcd(t)
	var n atomic.Int32
	contract.Run(t, func(t *testing.T) contract.Center {
		addr := start(t, relay.Config{Endpoints: []string{store}, Namespace: fmt.Sprintf("/team-%d", n.Add(1))})
		c := must(etcd.Open(etcd.Config{Endpoints: []string{"http://" + addr}, Log: slog.New(slog.DiscardHandler)}))(t)
		t.Cleanup(func() { c.Close() })
		return c
	})
}
