package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
)

// query is one request on the generic part of the API.
type query struct {
	ctx context.Context
	target
	args    url.Values
	body    any
	hasBody bool
	ttl     int64 // seconds; 0: for ever
}

// luaNumber reads a number as Lua's tonumber would, cut to whole seconds.
func luaNumber(s string) (int64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > math.MaxInt64/2 {
		return 0, false
	}
	return int64(f), true
}

// idText is an id as text; "" for what is not an id.
func idText(v any) string {
	switch id := v.(type) {
	case string:
		return id
	case json.Number:
		return id.String()
	}
	return ""
}

// get answers GET {kind}/{id}.
func (h *Handler) get(q *query) answer {
	id := q.storeID(q.id)
	ch, err := h.Store.Get(q.ctx, q.kind.kind, id)
	if errors.Is(err, configcenter.ErrNotFound) {
		return keyNotFound
	}
	if err != nil {
		return storeDown(err)
	}
	value, err := decodeStored(ch.Value)
	if err != nil {
		return storeDown(fmt.Errorf("%s: %w", h.key(q.kind.kind, id), err))
	}
	h.reveal(q.kind, q.id, value)
	node := object{"key": h.key(q.kind.kind, id), "value": value}
	if h.V2 {
		return answer{http.StatusOK, object{"action": "get", "node": node}}
	}
	node["createdIndex"], node["modifiedIndex"] = ch.Create, ch.Mod
	return answer{http.StatusOK, node}
}

// reveal makes a stored value ready to be shown: plugin fields in clear, no private keys.
func (h *Handler) reveal(k *kind, id string, value object) {
	h.unseal(k, id, value)
	if k.kind == resource.SSLs {
		delete(value, "key")
		delete(value, "keys")
	}
}

func decodeStored(raw json.RawMessage) (object, error) {
	v, err := schema.Decode(raw)
	if err != nil {
		return nil, err
	}
	value, ok := v.(object)
	if !ok {
		return nil, errors.New("stored value is not an object")
	}
	return value, nil
}

// candidate makes an object out of the body, after the checks of ids.
func (h *Handler) candidate(q *query, named bool) (*candidate, *answer) {
	if !q.hasBody {
		return nil, refusal("missing configurations")
	}
	value, ok := inspect.Object(q.body)
	if !ok {
		return nil, refusal("invalid configuration: wrong type: expected object, got %s", inspect.LuaType(q.body))
	}
	c := &candidate{ctx: q.ctx, kind: q.kind, id: q.id, value: value, parent: q.parent, manager: q.manager}
	if q.kind.kind == resource.Secrets && named {
		if q.manager == "" {
			return nil, refusal("missing secret type")
		}
		if q.id == "" {
			return nil, refusal("missing secret id")
		}
		c.id = q.manager + "/" + q.id
	}
	if !q.kind.unnamed {
		if bad := nameCandidate(c, named); bad != nil {
			return nil, bad
		}
	}
	if name := forbiddenTime(value); name != "" {
		return nil, refusal("the property is forbidden:  %s", name)
	}
	return c, nil
}

// nameCandidate settles the id: from the path, else from the body.
func nameCandidate(c *candidate, named bool) *answer {
	own, has := c.value["id"]
	switch {
	case named && c.id == "" && !has:
		return refusal("missing %s id", c.kind.word)
	case !named && (c.id != "" || has):
		return refusal("wrong %s id, do not need it", c.kind.word)
	case named && c.id != "" && has && idText(own) != c.id:
		return refusal("wrong %s id", c.kind.word)
	case named && c.id != "":
		c.value["id"] = c.id
	case named:
		c.id = idText(own)
	}
	return nil
}

// forbiddenTime returns the timestamp that a client must not send, if any.
func forbiddenTime(value object) string {
	for _, place := range []string{"", "upstream", "plugins"} {
		in, before := value, ""
		if place != "" {
			in, _ = value[place].(object)
			before = place + "."
		}
		for _, name := range []string{"create_time", "update_time"} {
			if v, has := in[name]; has && v != false {
				return before + name
			}
		}
	}
	return ""
}

// accept runs every check and the trial build. It leaves the value as it is.
func (h *Handler) accept(c *candidate) *answer {
	if bad := c.kind.check(h, c); bad != nil {
		return bad
	}
	if h.Try == nil {
		return nil
	}
	if err := h.try(c); err != nil {
		return refusal("invalid configuration: %s", err)
	}
	return nil
}

// try builds the candidate from its text, as the gateway will: with its
// defaults and its keys in clear. A certificate that is a reference to a
// secret cannot be tried: here is nobody to resolve it.
func (h *Handler) try(c *candidate) error {
	if c.kind.kind == resource.SSLs && inspect.HasSecretRef(c.value) {
		return nil
	}
	raw, err := encode(c.value)
	if err != nil {
		return err
	}
	doc, err := decodeStored(raw)
	if err != nil {
		return err
	}
	h.openKeys(c.kind, doc)
	if s := configcenter.SchemaOf(c.kind.kind, c.id); s != nil {
		filled, err := s.Apply(doc)
		if err != nil {
			return err
		}
		doc, _ = filled.(object)
	}
	if raw, err = schema.Encode(doc); err != nil {
		return err
	}
	obj, err := resource.Decode(c.kind.kind, c.id, raw)
	if err != nil {
		return err
	}
	return h.Try(c.kind.kind, c.id, obj)
}

// put answers PUT {kind}/{id}.
func (h *Handler) put(q *query) answer {
	if bad := h.bind(q); bad != nil {
		return *bad
	}
	c, bad := h.candidate(q, true)
	if bad == nil {
		bad = h.accept(c)
	}
	if bad != nil {
		return *bad
	}
	id := c.id
	switch q.kind.kind {
	case resource.Consumers:
		id, _ = c.value["username"].(string)
	case resource.PluginMetadata:
		c.value["id"] = id
	case resource.Secrets:
		id = q.id
	case resource.Credentials:
		if bad := h.consumerExists(q.ctx, q.parent); bad != nil {
			return *bad
		}
	}
	id = q.storeID(id)
	h.seal(q.kind, c.id, c.value)
	if q.kind.kind != resource.PluginMetadata {
		prev, err := h.Store.Get(q.ctx, q.kind.kind, id)
		if err != nil && !errors.Is(err, configcenter.ErrNotFound) {
			return storeDown(err)
		}
		h.stamp(c.value, prev.Value)
	}
	ch, bad := h.store(q, id, c.value, 0)
	if bad != nil {
		return *bad
	}
	code := http.StatusOK
	if ch.Create == ch.Mod {
		code = http.StatusCreated
		if q.kind.kind == resource.Services {
			h.dropDecorations(q.ctx, id) // left over from a deleted service of this id
		}
	}
	return h.stored(q, "set", code, id, c.value)
}

// stamp sets the times of a new value; create_time comes from the one before.
func (h *Handler) stamp(value object, prev json.RawMessage) {
	now := json.Number(strconv.FormatInt(h.Now().Unix(), 10))
	var old struct {
		CreateTime json.Number `json:"create_time"`
	}
	_ = json.Unmarshal(prev, &old) // nothing, or nothing usable: created now
	if value["create_time"] = now; old.CreateTime != "" {
		value["create_time"] = old.CreateTime
	}
	value["update_time"] = now
}

func (h *Handler) store(q *query, id string, value object, rev int64) (configcenter.Change, *answer) {
	raw, err := encode(value)
	if err != nil {
		return configcenter.Change{}, refusal("invalid configuration: %s", err)
	}
	ch, err := h.Store.Put(q.ctx, q.kind.kind, id, raw, configcenter.PutOptions{Rev: rev, TTL: q.ttl})
	if err != nil {
		h.Log.Error("failed to store", "key", h.key(q.kind.kind, id), "err", err)
		return ch, storeDownRef(err)
	}
	return ch, nil
}

// stored is the answer to a successful write.
func (h *Handler) stored(q *query, action string, code int, id string, value object) answer {
	node := object{"key": h.key(q.kind.kind, id), "value": value}
	if h.V2 {
		return answer{code, object{"action": action, "node": node}}
	}
	return answer{code, node}
}

// post answers POST {kind}.
func (h *Handler) post(q *query) answer {
	if bad := h.bind(q); bad != nil {
		return *bad
	}
	c, bad := h.candidate(q, false)
	if bad == nil {
		bad = h.accept(c)
	}
	if bad != nil {
		return *bad
	}
	h.seal(q.kind, "", c.value)
	h.stamp(c.value, nil)
	n, err := h.Store.NextID(q.ctx)
	if err != nil {
		return storeDown(err)
	}
	id := fmt.Sprintf("%020d", n)
	c.value["id"] = id
	id = q.storeID(id)
	if _, bad := h.store(q, id, c.value, 0); bad != nil {
		return *bad
	}
	return h.stored(q, "create", http.StatusCreated, id, c.value)
}

// delete answers DELETE {kind}/{id}.
func (h *Handler) delete(q *query) answer {
	if q.kind.kind == resource.Secrets && q.manager == "" || q.id == "" {
		return fail(http.StatusBadRequest, "missing %s id", q.kind.word)
	}
	if q.kind.used != nil && q.args.Get("force") != "true" {
		msg, err := q.kind.used(h, q.ctx, q.id)
		if err != nil {
			return storeDown(err)
		}
		if msg != "" {
			return fail(http.StatusBadRequest, "%s", msg)
		}
	}
	if q.kind.kind == resource.Consumers {
		if err := h.deleteBelow(q.ctx, resource.Credentials, q.id); err != nil {
			return storeDown(err)
		}
	}
	id := q.storeID(q.id)
	if err := h.Store.Delete(q.ctx, q.kind.kind, id); errors.Is(err, configcenter.ErrNotFound) {
		return keyNotFound
	} else if err != nil {
		h.Log.Error("failed to delete", "key", h.key(q.kind.kind, id), "err", err)
		return storeDown(err)
	}
	if q.kind.kind == resource.Services {
		h.dropDecorations(q.ctx, q.id)
	}
	gone := object{"deleted": "1", "key": h.key(q.kind.kind, id)}
	if h.V2 {
		maps.Copy(gone, object{"action": "delete", "node": object{}})
	}
	return answer{http.StatusOK, gone}
}

// deleteBelow removes the objects of kind k that belong to parent.
func (h *Handler) deleteBelow(ctx context.Context, k resource.Kind, parent string) error {
	list, err := h.below(ctx, k, parent)
	if err != nil {
		return err
	}
	for _, ch := range list {
		if err := h.Store.Delete(ctx, k, ch.ID); err != nil && !errors.Is(err, configcenter.ErrNotFound) {
			return err
		}
	}
	return nil
}

// BelowLister is a Store that can list what belongs to one object (a
// consumer's credentials, a service's cost decorations) without reading that
// of all others.
type BelowLister interface {
	ListBelow(ctx context.Context, k resource.Kind, parent string) ([]configcenter.Change, error)
}

// below lists the objects of kind k that belong to parent.
func (h *Handler) below(ctx context.Context, k resource.Kind, parent string) ([]configcenter.Change, error) {
	if s, ok := h.Store.(BelowLister); ok {
		return s.ListBelow(ctx, k, parent)
	}
	list, err := h.Store.List(ctx, k)
	return slices.DeleteFunc(list, func(ch configcenter.Change) bool {
		return !strings.HasPrefix(ch.ID, parent+"/")
	}), err
}

// dropDecorations removes the cost decorations of a service that is gone. A
// failure leaves them without effect, so it is only logged.
func (h *Handler) dropDecorations(ctx context.Context, service string) {
	if err := h.deleteBelow(ctx, resource.GraphQLCostDecorations, service); err != nil {
		h.Log.Error("failed to delete the graphql cost decorations", "service_id", service, "err", err)
	}
}
