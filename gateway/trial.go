package gateway

import (
	"encoding/json"

	"sluice/configcenter/resource"
	"sluice/plugins"
)

// Try makes of an object what the gateway would, and throws it away: what the
// Admin API accepts, the gateway can run. obj is the decoded object; its
// plugins are tried one by one with TryPlugin. Safe for concurrent use; the live
// version is not touched.
func (g *Gateway) Try(kind resource.Kind, id string, obj any) error {
	switch o := obj.(type) {
	case *resource.Route:
		r := &route{def: o}
		b := &routeBuilder{compiler: g.comp, c: &compiled{route: r}, r: r}
		err := b.conditions()
		if b.r.filter != nil {
			b.r.filter.Close()
		}
		return err
	}
	return nil
}

// TryPlugin builds an instance of a plugin from a configuration with its
// defaults filled in, and the metadata of the live version, and closes it.
func (g *Gateway) TryPlugin(spec *plugins.Spec, owner string, conf []byte, stream bool) error {
	if stream {
		return nil // stream routes are not served yet: the schema is all there is
	}
	from := ingredients{conf: conf, resolved: conf, meta: func(string) json.RawMessage { return nil }}
	if snap := g.Snapshot(); snap != nil {
		from.meta = g.comp.o.metadataOf(snap) // what is wrong with it was reported when it came
		from.objects = objectsOf(spec, conf, snap)
	}
	ref, err := g.comp.instances.build(owner, spec.Name, from, true)
	if err != nil {
		return err
	}
	closeInstance(ref.Instance)
	return nil
}
