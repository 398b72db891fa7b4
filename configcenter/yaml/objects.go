package yaml

import (
	"encoding/json"
	"fmt"
	"strings"

	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// Objects takes a document of the standalone form apart: lists of objects
// under the plural names of the kinds. An object's id is its id, else its
// username, else arr_N with N its place from 1. Objects without a
// modifiedIndex of their own get rev. Other members of the document are left.
func Objects(doc any, rev int64) ([]configcenter.Change, error) {
	if doc == nil {
		return nil, nil
	}
	top, ok := doc.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the configuration must be an object, with lists under the names of the kinds")
	}
	var out []configcenter.Change
	for _, info := range resource.Kinds {
		list, ok := top[string(info.Kind)]
		if !ok || list == nil {
			continue
		}
		if info.Kind == resource.PluginList {
			c, err := object(resource.PluginList, "", list, rev)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
			continue
		}
		items, ok := list.([]any)
		if m, isMap := list.(map[string]any); isMap && len(m) == 0 {
			ok = true
		}
		if !ok {
			return nil, fmt.Errorf("%s: must be a list", info.Kind)
		}
		changes, err := objects(info.Kind, items, rev)
		if err != nil {
			return nil, err
		}
		out = append(out, changes...)
	}
	return out, nil
}

func objects(k resource.Kind, items []any, rev int64) ([]configcenter.Change, error) {
	out := make([]configcenter.Change, 0, len(items))
	at := make(map[resource.Ref]int, len(items))
	for i, item := range items {
		id := idOf(item, i+1)
		kind, id := placed(k, id)
		c, err := object(kind, id, item, rev)
		if err != nil {
			return nil, err
		}
		ref := resource.Ref{Kind: c.Kind, ID: c.ID}
		if j, twice := at[ref]; twice {
			out[j] = c // the later one counts
			continue
		}
		at[ref] = len(out)
		out = append(out, c)
	}
	return out, nil
}

// placed finds credentials, which stand among the consumers under an id like a
// key's, and cost decorations, likewise among the services.
func placed(k resource.Kind, id string) (resource.Kind, string) {
	if kind, full, ok := configcenter.ParsePath("/" + string(k) + "/" + id); ok {
		return kind, full
	}
	return k, id
}

func idOf(item any, place int) string {
	m, _ := item.(map[string]any)
	for _, name := range []string{"id", "username"} {
		switch v := m[name].(type) {
		case string:
			return v
		case json.Number:
			return strings.TrimSuffix(string(v), ".0")
		}
	}
	return fmt.Sprint("arr_", place)
}

func object(k resource.Kind, id string, item any, rev int64) (configcenter.Change, error) {
	c := configcenter.Change{Kind: k, ID: id, Create: rev, Mod: rev}
	if m, ok := item.(map[string]any); ok {
		if n, ok := m["modifiedIndex"].(json.Number); ok {
			mod, err := n.Int64()
			if err != nil {
				return c, fmt.Errorf("modifiedIndex %s of %s: must be an integer", n, configcenter.Path(k, id))
			}
			c.Create, c.Mod = mod, mod
		}
		delete(m, "modifiedIndex")
		emptyPlugins(m)
	}
	var err error
	c.Value, err = schema.Encode(item)
	return c, err
}

// emptyPlugins makes a plugin that stands in the file with nothing behind its
// name ("key-auth:") one without settings, which is how people write it.
func emptyPlugins(object map[string]any) {
	plugins, _ := object["plugins"].(map[string]any)
	for name, conf := range plugins {
		if conf == nil {
			plugins[name] = map[string]any{}
		}
	}
}
