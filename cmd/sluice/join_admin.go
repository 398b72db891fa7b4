package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"sluice/admin"
	"sluice/balancer"
	"sluice/conf"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/gateway"
	"sluice/plugins"
	"sluice/plugins/prometheus"
)

// openAdmin makes the handlers of the Admin API, the status API and the export
// server of the metrics.
func (p *parts) openAdmin(handlers map[conf.Service]http.Handler) error {
	d, a := &p.cfg.Deployment.Admin, &p.cfg.Apisix
	o := admin.Options{
		Store: p.center.store, Cache: cached{p.gateway}, Registry: p.registry,
		Plugins:       p.enabled,
		EncryptFields: a.DataEncryption.Enable,
		Try:           p.gateway.Try,
		TryPlugin:     p.gateway.TryPlugin,
		Vars:          plugins.CheckVars,
		KeyRequired:   d.KeyRequired && len(d.Keys) > 0,
		AllowAdmin:    d.Allow,
		CORS:          d.EnableCORS,
		HideVersion:   !a.EnableServerTokens,
		V2:            d.Version != "v3",
		StreamMode:    p.cfg.ServesStream(),
		Standalone:    p.center.standalone,
		Reload:        p.reload,
		Log:           p.log,
	}
	if k := p.center.keyring; k != nil {
		o.Keyring = k
	}
	for _, k := range d.Keys {
		o.Keys = append(o.Keys, admin.Key{Name: k.Name, Key: k.Key, Role: k.Role})
	}
	for _, x := range p.cfg.XRPC.Protocols {
		o.Protocols = append(o.Protocols, x.Name)
	}
	h, err := admin.New(o)
	if err != nil {
		return err
	}
	if p.cfg.Provider == "etcd" && p.cfg.ServesAdmin() {
		ctx, cancel := context.WithTimeout(p.ctx, syncTime)
		defer cancel()
		if err := h.SyncPlugins(ctx); err != nil {
			p.log.Warn("the stored list of plugins was not brought up to date", "err", err)
		}
	}
	handlers[conf.AdminAPI] = h
	handlers[conf.Status] = p.withState(admin.NewStatus(p.ready), "/status/config")
	return p.openMetrics(handlers)
}

// syncTime bounds the one look at the stored list of plugins at start.
const syncTime = 3 * time.Second

// cached lists the objects of the live version: for checks that need not see
// the latest write.
type cached struct{ g *gateway.Gateway }

func (c cached) List(_ context.Context, k resource.Kind) ([]configcenter.Change, error) {
	var out []configcenter.Change
	for item := range c.g.Snapshot().All(k) {
		out = append(out, configcenter.Change{Kind: k, ID: item.ID, Value: item.Raw, Create: item.Create, Mod: item.Mod})
	}
	return out, nil
}

func (p *parts) openMetrics(handlers map[conf.Service]http.Handler) error {
	e, err := prometheus.Open(p.shared, p.cfg.PluginAttr["prometheus"])
	if err != nil {
		return err
	}
	e.Add(p.gauges)
	e.AddPlugins(p.gateway.PluginCounts)
	handlers[conf.Metrics] = e.Handler()
	return nil
}

func (p *parts) openControl(handlers map[conf.Service]http.Handler) error {
	handlers[conf.ControlAPI] = p.withPlugins(p.withState(admin.NewControl(admin.ControlOptions{
		Live: live{p}, Plugins: p.enabled, Reload: p.reload, Debug: p.cfg.Sluice.Pprof, Log: p.log}), "/v1/sluice/status"))
	return nil
}

// enabled are the plugins of the two subsystems.
func (p *parts) enabled() (http, stream admin.Plugins) { return p.catalog, p.streamCatalog }

// ready is nil once a configuration is live.
func (p *parts) ready() error {
	if p.gateway.Rev() == 0 && !p.gateway.Started() {
		return errNotReady
	}
	return nil
}

// reload is for the APIs that let plugins be loaded anew: the set of plugins of a
// process is fixed when it starts, there is nothing to load.
func (p *parts) reload(context.Context) error { return nil }

// live shows the running gateway to the control API.
type live struct{ p *parts }

func (l live) Rev() int64 { return l.p.gateway.Rev() }

func (l live) Digest() (rev int64, digest string) {
	snap := l.p.gateway.Snapshot()
	return snap.Rev(), snap.Digest()
}

func (l live) WaitRev(ctx context.Context, rev int64) error { return l.p.gateway.WaitRev(ctx, rev) }

func (l live) Items(k resource.Kind) []admin.LiveItem {
	var out []admin.LiveItem
	prefix := ""
	if l.p.cfg.Provider == "etcd" {
		prefix = l.p.center.store.Prefix()
	}
	for item := range l.p.gateway.Snapshot().All(k) {
		out = append(out, admin.LiveItem{
			Key: prefix + "/" + string(k) + "/" + item.ID, ID: item.ID, Value: l.p.masked(k, item.ID, item.Raw),
			Created: item.Create, Modified: item.Mod,
		})
	}
	return out
}

func (l live) Health(k resource.Kind, id string) []admin.NodeHealth {
	h, ok := l.p.gateway.Health(k, id)
	if !ok {
		return nil
	}
	out := make([]admin.NodeHealth, len(h.Nodes))
	for i, n := range h.Nodes {
		out[i] = nodeHealth(n)
	}
	return out
}

func nodeHealth(n balancer.NodeHealth) admin.NodeHealth {
	out := admin.NodeHealth{IP: n.IP, Port: n.Port, Hostname: n.Hostname, Status: n.Status}
	out.Counter.Success = n.Counter.Success
	out.Counter.HTTP = n.Counter.HTTPFailure
	out.Counter.TCP = n.Counter.TCPFailure
	out.Counter.Timeout = n.Counter.TimeoutFailure
	return out
}

func (live) Discovery(string, string) (any, bool) { return nil, false }

func (live) PluginAPI(http.ResponseWriter, *http.Request) bool { return false }

// gauges are the metrics that are read when somebody asks.
func (p *parts) gauges(yield func(metric string, value int64, labels ...string)) {
	s := p.server.Stats()
	for _, c := range []struct {
		state string
		n     int64
	}{{"active", s.Active}, {"accepted", s.Accepted}, {"handled", s.Handled},
		{"reading", s.Reading}, {"writing", s.Writing}, {"waiting", s.Waiting}} {
		yield("nginx_http_current_connections", c.n, c.state)
	}
	yield("http_requests_total", p.gateway.Requests())
	yield("etcd_reachable", p.center.reachable())
	yield("router_drift_total", p.gateway.Drifts())
	yield("config_changes_applied_total", p.gateway.Applied())
	yield("config_problems", int64(len(p.gateway.Problems())))
	if p.center.etcd != nil {
		yield("config_drift_healed_total", p.center.etcd.Drifts())
	}
	snap := p.gateway.Snapshot()
	for _, k := range resource.Kinds {
		yield("etcd_modify_indexes", snap.ModRev(k.Kind), string(k.Kind))
	}
	yield("etcd_modify_indexes", snap.Rev(), "max_modify_index")
	yield("etcd_modify_indexes", snap.Rev(), "x_etcd_index")
	yield("etcd_modify_indexes", snap.ModRev(resource.GlobalRules), "prev_index")
	if host, err := os.Hostname(); err == nil {
		yield("node_info", 1, host, apisixVersion)
	}
	p.gateway.EachHealth(func(name, ip, port string, up bool) {
		v := int64(0)
		if up {
			v = 1
		}
		yield("upstream_status", v, name, ip, port)
	})
}

var _ admin.Plugins = (*plugins.Catalog)(nil)
