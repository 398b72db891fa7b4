package gateway

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/gateway/certs"
	"sluice/gateway/lua"
	"sluice/plugins"
	"sluice/router"
)

// table is one version of the configuration, compiled. It is never changed
// after it was published; what did not change is shared with the version before.
type table struct {
	rev       int64
	snap      *configcenter.Snapshot
	metadata  func(plugin string) json.RawMessage
	router    *router.Router[*route]
	upstreams []*upstream // by slot; nil: deleted
	global    *plugins.Chain
	consumers *consumers
	certs     *certs.Store
}

// route is a compiled route: all that can be known before a request comes.
type route struct {
	serial    int64 // no two compiled routes of a process share it
	def       *resource.Route
	service   *resource.Service
	chain     *plugins.Chain
	websocket bool
	timeout   *resource.Timeout // of the route; nil: the upstream's
	// fail is the reply of a route whose parts are missing; nil: it works.
	fail *plugins.Reply

	slot        int       // of the upstream object in table.upstreams; -1: none
	inline      *upstream // used when slot is -1; may be nil
	upstreamID  string    // whose slot it is; "" for none
	badUpstream bool      // the inline definition cannot be used

	// merged holds the chains of consumers that bring plugins of their own, made
	// on first use; it dies with the route.
	merged atomic.Pointer[mergedChains]

	uses   []*instanceRef // given back when the route retires
	filter *lua.Condition // filter_func; nil: none. Closed when the route retires
}

// maxMerged bounds the consumer chains kept for one route: a million consumers
// must not mean a million chains in memory. Beyond it chains are made per request.
const maxMerged = 1024

// mergedChains are the chains of a route for consumers.
type mergedChains struct {
	chains sync.Map // *plugins.Extra → *plugins.Chain
	count  atomic.Int32
}

// chainFor returns the chain for a request of a consumer that brings extra.
func (r *route) chainFor(extra *plugins.Extra) *plugins.Chain {
	m := r.merged.Load()
	if m == nil { // most routes never need one
		r.merged.CompareAndSwap(nil, &mergedChains{})
		m = r.merged.Load()
	}
	if ch, ok := m.chains.Load(extra); ok {
		return ch.(*plugins.Chain)
	}
	ch := mergeConsumer(r.chain, extra)
	if m.count.Load() < maxMerged {
		if _, loaded := m.chains.LoadOrStore(extra, ch); !loaded {
			m.count.Add(1)
		}
	}
	return ch
}

// mergeConsumer puts the consumer's instances over the route's of the same
// name. Those the route lacks have missed the rewrite phase.
func mergeConsumer(base *plugins.Chain, extra *plugins.Extra) *plugins.Chain {
	list := make([]*plugins.Instance, 0, len(base.Instances())+len(extra.Instances))
	brought := make(map[string]bool, len(extra.Instances))
	for _, in := range extra.Instances {
		brought[in.Spec.Name] = true
		list = append(list, in)
	}
	for _, in := range base.Instances() {
		if !brought[in.Spec.Name] {
			list = append(list, in)
		}
	}
	return plugins.NewChain(list, func(in *plugins.Instance) bool {
		return brought[in.Spec.Name] && !base.Has(in.Spec.Name)
	})
}

// upstreamOf is the upstream a route uses in this version, or nil.
func (t *table) upstreamOf(r *route) *upstream {
	if r.slot < 0 {
		return r.inline
	}
	return t.upstreamAt(r.slot)
}

// upstreamAt is the upstream object in a slot, or nil.
func (t *table) upstreamAt(slot int) *upstream {
	if slot >= len(t.upstreams) {
		return nil
	}
	return t.upstreams[slot]
}
