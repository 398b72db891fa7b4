package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/gateway/redact"
	"sluice/plugins"
)

func sorted(o object) []string { return slices.Sorted(maps.Keys(o)) }

// checkPlugins checks every plugin of a candidate, in the order of their names.
func (h *Handler) checkPlugins(c *candidate) *answer {
	confs, _ := c.value["plugins"].(object)
	enabled, _ := h.Plugins()
	before := ""
	if c.kind.part == plugins.ConsumerPart {
		before = "invalid plugins configuration: "
	}
	for _, name := range sorted(confs) {
		if err := h.checkPlugin(enabled, c, name, confs[name]); err != nil {
			return refusal("%s%s", before, err)
		}
	}
	return nil
}

func (h *Handler) checkPlugin(enabled Plugins, c *candidate, name string, conf any) error {
	o, ok := inspect.Object(conf)
	if !ok {
		text, err := encode(conf)
		if err != nil {
			return err
		}
		return errors.New("invalid plugin conf " + string(text) + " for plugin [" + name + "]")
	}
	spec, ok := enabled.Spec(name)
	if !ok {
		return errors.New("unknown plugin [" + name + "]")
	}
	meta, _ := o["_meta"].(object)
	if err := h.tryPlugin(enabled, spec, c, o, c.kind.part, false); err != nil {
		if meta["disable"] != true {
			return errors.New("failed to check the configuration of plugin " + name + " err: " + err.Error())
		}
		h.Log.Warn("invalid configuration of a disabled plugin accepted", "plugin", name, "err", err)
	}
	if bad := h.checkVars(meta["filter"]); bad != nil {
		return errors.New(bad.body.(object)["error_msg"].(string))
	}
	if src, ok := meta["pre_function"].(string); ok {
		if err := inspect.CompileLua(src, "meta pre_function"); err != nil {
			return errors.New("failed to load _meta.pre_function in plugin " + name + ": " + err.Error())
		}
	}
	return nil
}

// tryPlugin holds one configuration against its schema and builds it.
func (h *Handler) tryPlugin(enabled Plugins, spec *plugins.Spec, c *candidate, conf object, part plugins.Part, stream bool) error {
	s := enabled.Schema(spec.Name, part)
	if s == nil {
		return nil
	}
	raw, err := encode(conf)
	if err != nil {
		return err
	}
	secrets := redact.Conf(raw, s.EncryptFields())
	filled, err := s.Check(raw)
	if err != nil {
		return secrets.Error(err)
	}
	if part == plugins.ConsumerPart && spec.Consumer != "" {
		if spec.NewConsumer == nil || inspect.HasSecretRef(conf) {
			return nil
		}
		_, err = spec.MakeConsumer(filled)
		return secrets.Error(err)
	}
	if h.TryPlugin == nil {
		return nil
	}
	return h.TryPlugin(spec, string(c.kind.kind)+"/"+c.id, filled, stream)
}

// checkStreamPlugins is checkPlugins for stream routes, with their wording.
func (h *Handler) checkStreamPlugins(c *candidate) *answer {
	confs, _ := c.value["plugins"].(object)
	_, enabled := h.Plugins()
	for _, name := range sorted(confs) {
		o, ok := inspect.Object(confs[name])
		if !ok {
			text, _ := encode(confs[name]) // came from JSON, so it becomes JSON
			return refusal("invalid plugin conf %s for plugin [%s]", text, name)
		}
		spec, ok := enabled.Spec(name)
		if !ok {
			return refusal("unknown plugin [%s]", name)
		}
		err := h.tryPlugin(enabled, spec, c, o, plugins.Conf, true)
		meta, _ := o["_meta"].(object)
		if err != nil && meta["disable"] != true {
			return refusal("failed to check the configuration of stream plugin [%s]: %s", name, err)
		}
	}
	return nil
}

// eitherSpec looks in both subsystems.
func (h *Handler) eitherSpec(name string) (*plugins.Spec, bool) {
	enabled, stream := h.Plugins()
	if spec, ok := enabled.Spec(name); ok {
		return spec, true
	}
	return stream.Spec(name)
}

// metadataSchema is the metadata schema of a plugin, enabled or not; nil when it has none.
func (h *Handler) metadataSchema(name string) (*schema.Schema, error) {
	enabled, stream := h.Plugins()
	for _, p := range []Plugins{enabled, stream} {
		if _, ok := p.Spec(name); ok {
			return p.Schema(name, plugins.MetadataPart), nil
		}
	}
	spec := h.Registry[name]
	if spec == nil || spec.Metadata == "" {
		return nil, nil
	}
	return schema.Compile(name+"/metadata", spec.Metadata)
}

// pluginList answers GET plugins/list.
func (h *Handler) pluginList(_ http.ResponseWriter, r *http.Request, _ string) answer {
	enabled, stream := h.Plugins()
	args := r.URL.Query()
	switch sub := args.Get("subsystem"); {
	case !args.Has("subsystem") || sub == "http":
		return answer{http.StatusOK, names(enabled)}
	case sub == "stream":
		return answer{http.StatusOK, names(stream)}
	}
	return answer{http.StatusBadRequest, "invalid subsystem passed"}
}

func names(p Plugins) []string {
	if list := p.Names(); list != nil {
		return list
	}
	return []string{}
}

// pluginGet answers GET plugins/{name} and GET plugins?all=true.
func (h *Handler) pluginGet(q *query) answer {
	p, stream := h.Plugins()
	sub := q.args.Get("subsystem")
	switch {
	case !q.args.Has("subsystem"):
		sub = "http"
	case sub == "stream":
		p = stream
	case sub != "http":
		return fail(http.StatusBadRequest, "unsupported subsystem: %s", sub)
	}
	if q.args.Get("all") == "true" {
		h.Log.Warn(`query parameter "all" will be deprecated soon.`)
		return answer{http.StatusOK, describe(p)}
	}
	spec, ok := p.Spec(q.id)
	if !ok {
		return fail(http.StatusNotFound, "plugin not found in subsystem %s", sub)
	}
	text := confSchema(p, q.id)
	if q.args.Get("schema_type") == "consumer" {
		text = json.RawMessage(spec.Consumer)
	}
	if len(text) == 0 {
		return fail(http.StatusBadRequest, "not found schema")
	}
	return answer{http.StatusOK, text}
}

func confSchema(p Plugins, name string) json.RawMessage {
	if s := p.Schema(name, plugins.Conf); s != nil {
		return s.Text()
	}
	return nil
}

// description is one plugin in GET plugins?all=true and the control API's schema.
type description struct {
	Version  json.RawMessage `json:"version,omitempty"`
	Priority int             `json:"priority"`
	Schema   json.RawMessage `json:"schema,omitempty"`
	Metadata json.RawMessage `json:"metadata_schema,omitempty"`
	Consumer json.RawMessage `json:"consumer_schema,omitempty"`
	Type     string          `json:"type,omitempty"`
	Scope    string          `json:"scope,omitempty"`
}

func describe(p Plugins) map[string]description {
	all := map[string]description{}
	for _, name := range p.Names() {
		spec, ok := p.Spec(name)
		if !ok {
			continue
		}
		d := description{Version: versionText(spec.Version), Priority: spec.Priority, Schema: confSchema(p, name),
			Metadata: json.RawMessage(spec.Metadata), Consumer: json.RawMessage(spec.Consumer)}
		if spec.Auth {
			d.Type = "auth"
		}
		if spec.Global {
			d.Scope = "global"
		}
		all[name] = d
	}
	return all
}

// versionText writes a version as the number it is in APISIX ("0.1"), as a
// string when it is none.
func versionText(v string) json.RawMessage {
	if v == "" {
		v = "0.1"
	}
	if json.Valid([]byte(v)) {
		return json.RawMessage(v)
	}
	text, _ := encode(v) // a string always becomes JSON
	return text
}

// reload answers PUT plugins/reload.
func (h *Handler) reload(_ http.ResponseWriter, r *http.Request, _ string) answer {
	if r.Method != http.MethodPut {
		return fail(http.StatusMethodNotAllowed,
			"please use PUT method to reload the plugins, %s method is not allowed.", r.Method)
	}
	if h.Reload != nil {
		if err := h.Reload(r.Context()); err != nil {
			h.Log.Error("failed to reload plugins", "err", err)
			return answer{http.StatusServiceUnavailable, err.Error()}
		}
	}
	if err := h.storePlugins(r.Context(), 0); err != nil {
		h.Log.Error("failed to store the list of plugins", "err", err)
	}
	return answer{http.StatusOK, "done"}
}

// SyncPlugins brings the stored list of plugins up to date with the enabled
// ones, if there is a list and it names others. For the start of the process;
// a list that was written meanwhile by somebody else stays.
func (h *Handler) SyncPlugins(ctx context.Context) error {
	if h.Standalone != nil {
		return nil
	}
	ch, err := h.Store.Get(ctx, resource.PluginList, "")
	if errors.Is(err, configcenter.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the stored list of plugins: %w", err)
	}
	var stored []resource.EnabledPlugin
	if err := json.Unmarshal(ch.Value, &stored); err == nil && samePlugins(stored, h.enabledPlugins()) {
		return nil
	}
	if err := h.storePlugins(ctx, ch.Mod); err != nil && !errors.Is(err, configcenter.ErrConflict) {
		return fmt.Errorf("store the list of plugins: %w", err)
	}
	return nil
}

func samePlugins(a, b []resource.EnabledPlugin) bool {
	set := map[resource.EnabledPlugin]bool{}
	for _, p := range a {
		set[p] = true
	}
	return len(set) == len(b) && !slices.ContainsFunc(b, func(p resource.EnabledPlugin) bool { return !set[p] })
}

func (h *Handler) enabledPlugins() []resource.EnabledPlugin {
	enabled, stream := h.Plugins()
	var list []resource.EnabledPlugin
	for _, name := range enabled.Names() {
		list = append(list, resource.EnabledPlugin{Name: name})
	}
	for _, name := range stream.Names() {
		list = append(list, resource.EnabledPlugin{Name: name, Stream: true})
	}
	return list
}

func (h *Handler) storePlugins(ctx context.Context, rev int64) error {
	text, err := json.Marshal(h.enabledPlugins())
	if err != nil {
		return err
	}
	_, err = h.Store.Put(ctx, resource.PluginList, "", text, configcenter.PutOptions{Rev: rev})
	return err
}
