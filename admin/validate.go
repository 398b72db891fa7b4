package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"

	"sluice/admin/inspect"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// batchKinds are the kinds of a whole configuration as one document.
var batchKinds = []resource.Kind{resource.Upstreams, "plugins", resource.SSLs, resource.StreamRoutes,
	resource.PluginMetadata, resource.Routes, resource.Services, resource.Consumers, resource.GlobalRules,
	resource.Protos, resource.PluginConfigs, resource.ConsumerGroups, resource.Secrets}

func versionMember(k resource.Kind) string { return string(k) + "_conf_version" }

// problem is one fault of a whole configuration.
type problem struct {
	Type  string `json:"resource_type"`
	ID    any    `json:"resource_id,omitempty"`
	Index *int   `json:"index,omitempty"`
	Error string `json:"error"`
}

// readDocument reads a whole configuration, JSON or YAML.
func readDocument(r *http.Request, limit int64) (object, *answer) {
	raw, err := readBody(r, limit)
	if err != nil {
		return nil, refusal("invalid request body: %s", err)
	}
	if len(raw) == 0 {
		return nil, refusal("invalid request body: empty request body")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/yaml") {
		doc, ok := decodeYAML(raw)
		if !ok {
			return nil, refusal("invalid request body: invalid yaml request body")
		}
		return doc, nil
	}
	v, err := inspect.Decode(raw)
	if err != nil {
		return nil, refusal("invalid request body: %s", err)
	}
	doc, ok := inspect.Object(v)
	if !ok {
		return nil, refusal("invalid request body: wrong type: expected object, got %s", inspect.LuaType(v))
	}
	return doc, nil
}

// decodeYAML reads YAML into what JSON of the same content would give.
func decodeYAML(raw []byte) (object, bool) {
	var v any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return nil, false
	}
	text, err := encode(jsonable(v))
	if err != nil {
		return nil, false
	}
	doc, err := schema.Decode(text)
	if err != nil {
		return nil, false
	}
	return inspect.Object(doc)
}

// jsonable turns the maps of YAML, whose names may be anything, into objects.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[any]any:
		o := object{}
		for name, m := range v {
			o[fmt.Sprint(name)] = jsonable(m)
		}
		return o
	case map[string]any:
		for name, m := range v {
			v[name] = jsonable(m)
		}
	case []any:
		for i, e := range v {
			v[i] = jsonable(e)
		}
	}
	return v
}

// validateConfigs answers POST configs/validate.
func (h *Handler) validateConfigs(_ http.ResponseWriter, r *http.Request, _ string) answer {
	doc, bad := readDocument(r, maxBody)
	if bad != nil {
		return *bad
	}
	if problems := h.faults(r.Context(), doc, true); len(problems) > 0 {
		return answer{http.StatusBadRequest, object{
			"error_msg": "Configuration validation failed", "errors": problems}}
	}
	return answer{http.StatusOK, object{}}
}

// faults checks a whole configuration: everything but the references between
// its objects. Unless all is set it stops at the first fault.
func (h *Handler) faults(c ctx, doc object, all bool) []problem {
	var found []problem
	for _, k := range batchKinds {
		if v, ok := doc[versionMember(k)]; ok && v != nil {
			if _, ok := v.(json.Number); !ok {
				text := versionMember(k) + " must be a number"
				if all {
					text += ", got " + inspect.LuaType(v)
				}
				found = append(found, problem{Type: string(k), Error: text})
			}
		}
		items, _ := doc[string(k)].([]any)
		seen := map[string]bool{}
		for i, v := range items {
			if len(found) > 0 && !all {
				return found
			}
			for _, text := range h.itemFaults(c, k, v, seen) {
				item, _ := v.(object)
				found = append(found, problem{string(k), cmp.Or(item["id"], item["username"], any("")), &i, text})
			}
		}
	}
	return found
}

func (h *Handler) itemFaults(c ctx, k resource.Kind, v any, seen map[string]bool) (texts []string) {
	item, ok := inspect.Object(v)
	if !ok {
		return []string{"invalid configuration: wrong type: expected object, got " + inspect.LuaType(v)}
	}
	if bad := h.checkAlone(c, k, item); bad != nil {
		if o, ok := bad.body.(object); ok {
			texts = append(texts, fmt.Sprint(o["error_msg"]))
		}
	}
	id, word := idText(item["id"]), "id"
	if k == resource.Consumers {
		word = "credential id"
		if id == "" {
			id, word = idText(item["username"]), "username"
		}
	}
	if id != "" && seen[id] {
		texts = append(texts, fmt.Sprintf("found duplicate %s %s in %s", word, id, k))
	}
	seen[id] = true
	return texts
}

// checkAlone checks one object without looking at others of its document. In
// a standalone document an object may carry its own revision.
func (h *Handler) checkAlone(c ctx, k resource.Kind, item object) *answer {
	id := idText(item["id"])
	if rev, ok := item["modifiedIndex"]; ok && h.Standalone != nil {
		if n, ok := rev.(json.Number); !ok || strings.ContainsAny(n.String(), ".eE") {
			return refusal("invalid configuration: property \"modifiedIndex\" validation failed: "+
				"wrong type: expected integer, got %s", inspect.LuaType(rev))
		}
		item = maps.Clone(item)
		delete(item, "modifiedIndex")
	}
	kd := h.kinds[string(k)]
	if k == resource.Consumers && strings.Contains(id, "/credentials/") {
		kd = h.kinds[string(resource.Credentials)]
	}
	if kd == nil {
		return nil // the list of plugins
	}
	return h.accept(&candidate{ctx: c, kind: kd, id: id, value: item, alone: true})
}
