package gateway

import (
	"encoding/json"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/plugins"
)

// metadataOf looks a plugin's metadata of a version up, when it is asked for.
func (o *Options) metadataOf(snap *configcenter.Snapshot) func(plugin string) json.RawMessage {
	return func(plugin string) json.RawMessage {
		filled, err := metadataOf(o, snap, plugin)
		if err != nil {
			return nil // reported when the version was compiled
		}
		return filled
	}
}

// metadata is the plugin's metadata with its defaults, or nil.
func (k *compiler) metadata(name string) json.RawMessage {
	if filled, ok := k.metas[name]; ok {
		return filled
	}
	filled, err := metadataOf(k.o, k.snap, name)
	if err != nil {
		k.fail(resource.PluginMetadata, name, err)
	}
	k.metas[name] = filled
	return filled
}

func metadataOf(o *Options, snap *configcenter.Snapshot, name string) (json.RawMessage, error) {
	item := snap.Get(resource.PluginMetadata, name)
	if item == nil {
		return nil, nil
	}
	return o.Catalog.Check(name, o.decrypted(name, plugins.MetadataPart, item.Raw), plugins.MetadataPart)
}
