package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/secret"
	"sluice/gateway/certs"
	"sluice/plugins"
	"sluice/router"
)

// compiler turns snapshots into tables. It remembers what each compiled object
// was made from, so that a change recompiles only what it touches. It belongs
// to the goroutine of Follow.
type compiler struct {
	o         *Options
	instances *instances
	upstreams *upstreams

	snap *configcenter.Snapshot
	// enabled are the plugins that the configuration itself enables; nil: it does not say.
	enabled map[string]bool
	routes  map[string]*compiled
	// users are the routes to recompile when an object changes.
	users  map[resource.Ref]map[string]struct{}
	order  int64 // of the next new route, see router.Route.Order
	serial int64 // of the last compiled route

	consumers *consumers
	// consumerUsers are the consumers to recompile when an object changes.
	consumerUsers map[resource.Ref]map[string]struct{}
	global        *plugins.Chain
	globalUses    []*instanceRef
	globalDeps    map[resource.Ref]struct{}      // secret managers and other objects that the global rules are made of
	clear         map[string]clearSSL            // ssl objects in clear
	sslUsers      map[string]map[string]struct{} // ssl objects by the managers of their secrets
	metas         map[string]json.RawMessage     // metadata of the version being compiled, by plugin
	keeper        *secret.Keeper                 // nil: references stay as they are
	session       *secret.Session                // of the version being compiled
	problems      map[resource.Ref]configcenter.Problem
}

// compiled is a route with what the compiler must know to replace it.
type compiled struct {
	route *route
	when  func(*router.Input) bool // beside path, host, method and address; nil: nothing
	deps  []resource.Ref
	order int64
	off   bool // status 0: not in the router
}

func newCompiler(o *Options) *compiler {
	k := &compiler{
		o:             o,
		routes:        map[string]*compiled{},
		users:         map[resource.Ref]map[string]struct{}{},
		problems:      map[resource.Ref]configcenter.Problem{},
		consumerUsers: map[resource.Ref]map[string]struct{}{},
		global:        plugins.Empty,
		clear:         map[string]clearSSL{},
		sslUsers:      map[string]map[string]struct{}{},
	}
	if o.Secrets != nil {
		k.keeper = secret.NewKeeper(o.Secrets)
	}
	k.upstreams = newUpstreams(o)
	k.upstreams.ssl = k.clientCertificate
	k.instances = &instances{o: o, m: map[string]*instanceRef{}, upstreams: k.upstreams}
	k.consumers = newConsumers()
	return k
}

func (k *compiler) empty() *table {
	r, _ := router.New[*route](k.o.Mode, nil)
	none, _ := certs.New(nil, nil, &k.o.TLS)
	return &table{router: r, global: plugins.Empty, consumers: k.consumers, certs: none}
}

// compile makes the table of snap from the one before it; changes are what
// became different. What cannot be compiled keeps its last good form and is among the problems returned: those
// of the whole version, the snapshot's own included.
func (k *compiler) compile(old *table, snap *configcenter.Snapshot, changes []resource.Ref) (*table, []configcenter.Problem) {
	k.snap, k.metas = snap, map[string]json.RawMessage{}
	if k.begin(changes); k.session != nil {
		defer k.session.End()
	}
	t := &table{rev: snap.Rev(), snap: snap, certs: old.certs, metadata: k.o.metadataOf(snap)}
	dirty := k.dirty(k.withPlugins(changes))
	t.upstreams = k.upstreams.update(snap, old.upstreams, dirty[resource.Upstreams], k.fail)
	k.compileConsumers(dirty)
	t.consumers = k.consumers
	k.compileGlobal(dirty)
	t.global = k.global
	t.router = k.compileRoutes(old.router, dirty[resource.Routes])
	k.compileCerts(t, old, dirty[resource.SSLs])
	return t, k.allProblems()
}

// withPlugins takes note of a changed list of enabled plugins: everything that
// may have plugins is compiled anew then.
func (k *compiler) withPlugins(changes []resource.Ref) []resource.Ref {
	list := func(r resource.Ref) bool { return r.Kind == resource.PluginList }
	if !k.o.FollowPlugins || !slices.ContainsFunc(changes, list) {
		return changes
	}
	k.enabled = nil
	for item := range k.snap.All(resource.PluginList) {
		k.enabled = map[string]bool{}
		for _, p := range *item.Value.(*resource.EnabledPlugins) {
			k.enabled[p.Name] = k.enabled[p.Name] || !p.Stream
		}
	}
	for _, kind := range []resource.Kind{resource.Routes, resource.Consumers, resource.GlobalRules} {
		for item := range k.snap.All(kind) {
			changes = append(changes, resource.Ref{Kind: kind, ID: item.ID})
		}
	}
	return changes
}

// dirty is what must be compiled anew: the changed objects, and the routes
// that were made from them.
func (k *compiler) dirty(changes []resource.Ref) map[resource.Kind]map[string]struct{} {
	d := map[resource.Kind]map[string]struct{}{}
	mark := func(kind resource.Kind, id string) {
		if d[kind] == nil {
			d[kind] = map[string]struct{}{}
		}
		d[kind][id] = struct{}{}
	}
	for _, ref := range changes {
		delete(k.problems, ref)
		mark(ref.Kind, ref.ID)
		for id := range k.users[ref] {
			mark(resource.Routes, id)
		}
		if ref.Kind == resource.Secrets {
			for id := range k.sslUsers[ref.ID] {
				mark(resource.SSLs, id)
			}
		}
	}
	return d
}

func (k *compiler) fail(kind resource.Kind, id string, err error) {
	ref := resource.Ref{Kind: kind, ID: id}
	k.problems[ref] = configcenter.Problem{Ref: ref, Rev: k.snap.Rev(), Err: err}
}

func (k *compiler) allProblems() []configcenter.Problem {
	all := slices.Clone(k.snap.Problems())
	for _, p := range k.problems {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b configcenter.Problem) int {
		return cmpStrings(string(a.Kind), string(b.Kind), a.ID, b.ID)
	})
	return all
}

// compileRoutes recompiles the dirty routes and hands the router the difference.
func (k *compiler) compileRoutes(old *router.Router[*route], dirty map[string]struct{}) *router.Router[*route] {
	if len(dirty) == 0 {
		return old
	}
	ids := make([]string, 0, len(dirty))
	for id := range dirty {
		ids = append(ids, id)
	}
	slices.Sort(ids) // key order, so that new routes get their order from it
	var put []router.Route[*route]
	var del []string
	for _, id := range ids {
		was := k.routes[id]
		now, err := k.compileRoute(id, was)
		switch {
		case err != nil:
			k.fail(resource.Routes, id, err)
			continue // the last good form, if any, stays in force
		case now == nil, now.off:
			if was != nil && !was.off {
				del = append(del, id)
			}
		default:
			e, _ := now.entry() // it was made without error before
			put = append(put, e)
		}
		k.replace(id, was, now)
	}
	next, errs := old.With(put, del)
	for _, err := range errs {
		k.o.Log.Error("router", "err", err)
	}
	return next
}

// rebuiltRouter builds the router from nothing, for when the incremental one is
// not to be trusted.
func (k *compiler) rebuiltRouter() *router.Router[*route] {
	var all []router.Route[*route]
	for _, c := range k.routes {
		if !c.off {
			e, _ := c.entry() // it was made without error before
			all = append(all, e)
		}
	}
	next, errs := router.New(k.o.Mode, all)
	for _, err := range errs {
		k.o.Log.Error("router", "err", err)
	}
	return next
}

// use notes what a route was made from.
func (k *compiler) use(id string, c *compiled) {
	for _, ref := range c.deps {
		if k.users[ref] == nil {
			k.users[ref] = map[string]struct{}{}
		}
		k.users[ref][id] = struct{}{}
	}
}

// replace keeps the books: who uses what, and which instances are given back.
func (k *compiler) replace(id string, was, now *compiled) {
	if now != nil {
		k.routes[id] = now
	} else {
		delete(k.routes, id)
	}
	if was == nil {
		return
	}
	for _, ref := range was.deps {
		if now == nil || !slices.Contains(now.deps, ref) {
			delete(k.users[ref], id)
			if len(k.users[ref]) == 0 {
				delete(k.users, ref)
			}
		}
	}
	k.retireRoute(was.route)
}

// retireRoute gives back what a replaced or failed route held.
func (k *compiler) retireRoute(r *route) {
	k.instances.release(r.uses)
	if r.filter != nil {
		r.filter.Close()
	}
	if r.inline != nil {
		k.upstreams.retire(r.inline)
	}
	if r.upstreamID != "" {
		k.upstreams.giveBack(r.upstreamID)
	}
}

// compileRoute compiles the route called id; nil when the snapshot has none.
func (k *compiler) compileRoute(id string, was *compiled) (*compiled, error) {
	item := k.snap.Get(resource.Routes, id)
	if item == nil {
		return nil, nil
	}
	def := item.Value.(*resource.Route)
	c := &compiled{off: def.Status != nil && *def.Status == 0}
	if was != nil {
		c.order = was.order
	} else {
		k.order++
		c.order = k.order
	}
	k.serial++
	b := &routeBuilder{compiler: k, c: c, owner: "routes/" + id, r: &route{serial: k.serial, def: def, slot: -1, chain: plugins.Empty}}
	c.route = b.r
	err := b.build()
	k.use(id, c) // also of a failed one: what it needs may be mended elsewhere
	if err != nil {
		k.retireRoute(b.r)
		return nil, err
	}
	return c, nil
}

// routeBuilder carries one route through its compilation.
type routeBuilder struct {
	*compiler
	c     *compiled
	r     *route
	owner string
}

func (b *routeBuilder) dep(kind resource.Kind, id string) {
	b.c.deps = append(b.c.deps, resource.Ref{Kind: kind, ID: id})
}

func (b *routeBuilder) build() error {
	def := b.r.def
	if def.ServiceID != "" {
		b.dep(resource.Services, string(def.ServiceID))
		if item := b.snap.Get(resource.Services, string(def.ServiceID)); item != nil {
			b.r.service = item.Value.(*resource.Service)
		} else {
			b.r.fail = &plugins.Reply{Status: 404}
		}
	}
	if err := b.steps(); err != nil {
		return err
	}
	if err := b.upstream(); err != nil {
		return err
	}
	b.r.websocket = def.EnableWebsocket != nil && *def.EnableWebsocket
	if s := b.r.service; s != nil && def.EnableWebsocket == nil && s.EnableWebsocket != nil {
		b.r.websocket = *s.EnableWebsocket
	}
	b.r.timeout = def.Timeout
	return b.conditions()
}

// configured is one plugin of a route and the object that configures it.
type configured struct {
	owner string
	conf  json.RawMessage
}

// plugins merges the configurations: the route's own win over its plugin
// config's, and both over the service's.
func (b *routeBuilder) plugins() error {
	merged := map[string]configured{}
	add := func(owner string, ps resource.Plugins) {
		for name, conf := range ps {
			merged[name] = configured{owner, conf}
		}
	}
	def := b.r.def
	if s := b.r.service; s != nil {
		add("services/"+string(def.ServiceID), s.Plugins)
	}
	if id := string(def.PluginConfigID); id != "" {
		b.dep(resource.PluginConfigs, id)
		if item := b.snap.Get(resource.PluginConfigs, id); item != nil {
			add("plugin_configs/"+id, item.Value.(*resource.PluginSet).Plugins)
		} else {
			b.r.fail = &plugins.Reply{Status: 503, Body: ""}
		}
	}
	add(b.owner, def.Plugins)
	uses, list, err := b.instantiate(merged, b.dep)
	b.r.uses = uses
	if err != nil {
		return err
	}
	if len(list) > 0 {
		b.r.chain = plugins.NewChain(list, nil)
	}
	return nil
}

// instantiate checks and builds the plugins of one place. Plugins that are not
// enabled are skipped with a warning, disabled ones silently. used hears of
// every object that matters besides: metadata, secrets.
func (k *compiler) instantiate(set map[string]configured, used func(resource.Kind, string)) ([]*instanceRef, []*plugins.Instance, error) {
	var uses []*instanceRef
	var list []*plugins.Instance
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := set[name]
		used(resource.PluginMetadata, name)
		if k.enabled != nil && !k.enabled[name] {
			if k.o.StrictPlugins {
				return uses, nil, &plugins.UnknownError{Name: name}
			}
			k.o.Log.Warn("plugin is not enabled, skipped", "plugin", name, "owner", c.owner)
			continue
		}
		ref, err := k.instance(c.owner, name, c.conf, used)
		var unknown *plugins.UnknownError
		switch {
		case errors.As(err, &unknown) && !k.o.StrictPlugins:
			k.o.Log.Warn("plugin is not enabled, skipped", "plugin", name, "owner", c.owner)
			continue
		case err != nil:
			return uses, nil, err
		case ref == nil:
			continue
		}
		uses = append(uses, ref)
		list = append(list, ref.Instance)
	}
	return uses, list, nil
}

// instance returns the instance of one configured plugin; nil when it is switched off.
func (k *compiler) instance(owner, name string, conf json.RawMessage, used func(resource.Kind, string)) (*instanceRef, error) {
	meta, err := plugins.MetaOf(conf)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", name, err)
	}
	if meta.Disable {
		return nil, nil
	}
	filled, err := k.o.Catalog.Check(name, k.o.decrypted(name, plugins.Conf, conf), plugins.Conf)
	if err != nil {
		return nil, err
	}
	resolved, _ := k.resolve(filled, func(id string) { used(resource.Secrets, id) })
	in := ingredients{conf: filled, resolved: resolved, meta: k.metadata}
	if spec, ok := k.o.Catalog.Spec(name); ok {
		in.objects = objectsOf(spec, filled, k.snap)
	}
	for ref := range in.objects {
		used(ref.Kind, ref.ID)
	}
	ref, err := k.instances.get(owner, name, in)
	if err != nil {
		return nil, fmt.Errorf("failed to check the configuration of plugin %s err: %w", name, err)
	}
	for inner := range ref.inner {
		used(resource.PluginMetadata, inner)
	}
	return ref, nil
}
