package gateway

import (
	"context"
	"strconv"

	"sluice/balancer"
	"sluice/configcenter/resource"
	"sluice/gateway/tally"
)

// WaitRev returns when a version of at least rev is live, or with ctx's error.
func (g *Gateway) WaitRev(ctx context.Context, rev int64) error {
	select {
	case <-g.Live(rev):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitStarted returns when a first version is live, or with ctx's error.
func (g *Gateway) WaitStarted(ctx context.Context) error {
	select {
	case <-g.started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Health is what the health checks of an object's upstream found; false when
// they have not begun, which they do on first use.
func (g *Gateway) Health(kind resource.Kind, id string) (balancer.Health, bool) {
	return g.comp.upstreams.registry.Health(string(kind) + "/" + id)
}

// EachHealth calls f for every node that is health checked.
func (g *Gateway) EachHealth(f func(name, ip, port string, up bool)) {
	for _, h := range g.comp.upstreams.registry.AllHealth() {
		for _, n := range h.Nodes {
			f(h.Name, n.IP, strconv.Itoa(n.Port), n.Status == "healthy" || n.Status == "mostly_healthy")
		}
	}
}

// PluginCounts are what the plugins in use did since the start.
func (g *Gateway) PluginCounts() []tally.Reading { return g.comp.instances.book.Read() }

// Requests is the number of requests begun since the start.
func (g *Gateway) Requests() int64 { return g.requests.Load() }

// Close ends what runs beside the walks: health checks and resolvers. Requests
// must be over, and Follow must have returned.
func (g *Gateway) Close() { g.comp.upstreams.registry.Close() }
