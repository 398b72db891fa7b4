package gateway

import (
	"sluice/configcenter/resource"
	"sluice/plugins"
)

// compileGlobal rebuilds the chain of the global rules when one of them, or the
// metadata of a plugin, changed. All rules make one set; a plugin that stands
// in several is in none of them, because nobody could say which is meant.
func (k *compiler) compileGlobal(dirty map[resource.Kind]map[string]struct{}) {
	if len(dirty[resource.GlobalRules]) == 0 && !k.globalUsesMetadata(dirty[resource.PluginMetadata]) && !k.globalMadeOf(dirty) {
		return
	}
	k.globalDeps = map[resource.Ref]struct{}{}
	merged := map[string]configured{}
	twice := map[string]bool{}
	for item := range k.snap.All(resource.GlobalRules) {
		for name, conf := range item.Value.(*resource.PluginSet).Plugins {
			if _, ok := merged[name]; ok {
				twice[name] = true
			}
			merged[name] = configured{"global_rules/" + item.ID, conf}
		}
	}
	for name := range twice {
		delete(merged, name)
		k.o.Log.Error("plugin stands in more than one global rule, left out of all", "plugin", name)
	}
	var uses []*instanceRef
	var list []*plugins.Instance
	for name, c := range merged {
		u, l, err := k.instantiate(map[string]configured{name: c}, func(kind resource.Kind, id string) {
			if kind != resource.PluginMetadata {
				k.globalDeps[resource.Ref{Kind: kind, ID: id}] = struct{}{}
			}
		})
		if err != nil {
			k.fail(resource.GlobalRules, c.owner[len("global_rules/"):], err)
			u, l = k.lastGlobal(name)
		}
		uses, list = append(uses, u...), append(list, l...)
	}
	old := k.globalUses
	k.global, k.globalUses = plugins.Empty, uses
	if len(list) > 0 {
		k.global = plugins.NewChain(list, nil)
	}
	k.instances.release(old)
}

// lastGlobal takes the instance of a plugin over from the version before.
func (k *compiler) lastGlobal(name string) ([]*instanceRef, []*plugins.Instance) {
	for _, ref := range k.globalUses {
		if ref.Spec.Name == name {
			k.instances.keep(ref)
			return []*instanceRef{ref}, []*plugins.Instance{ref.Instance}
		}
	}
	return nil, nil
}

func (k *compiler) globalUsesMetadata(changed map[string]struct{}) bool {
	for name := range changed {
		if k.global.Has(name) {
			return true
		}
	}
	return false
}

// globalMadeOf reports whether an object changed of which a global rule is made.
func (k *compiler) globalMadeOf(dirty map[resource.Kind]map[string]struct{}) bool {
	for ref := range k.globalDeps {
		if _, ok := dirty[ref.Kind][ref.ID]; ok {
			return true
		}
	}
	return false
}
