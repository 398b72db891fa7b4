package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// patch answers PATCH {kind}/{id}[/{sub path}].
func (h *Handler) patch(q *query) answer {
	if bad := h.patchable(q); bad != nil {
		return *bad
	}
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
	h.unseal(q.kind, q.id, value)
	now := json.Number(strconv.FormatInt(h.Now().Unix(), 10))
	if q.sub == "" {
		change, _ := inspect.Object(q.body)
		inspect.Merge(value, change)
		if _, sent := change["update_time"]; !sent {
			value["update_time"] = now
		}
	} else {
		if value, err = inspect.Replace(value, q.sub, q.body); err != nil {
			return fail(http.StatusBadRequest, "%s", err.Error())
		}
		value["update_time"] = now
	}
	if _, has := value["create_time"]; !has {
		value["create_time"] = now
	}
	c := &candidate{ctx: q.ctx, kind: q.kind, id: q.id, value: value, parent: q.parent, manager: q.manager}
	if q.kind.kind == resource.Secrets {
		c.id = q.manager + "/" + q.id
	}
	if bad := nameCandidate(c, true); bad != nil {
		return *bad
	}
	if bad := h.accept(c); bad != nil {
		return *bad
	}
	h.seal(q.kind, q.id, value)
	if _, bad := h.store(q, id, value, ch.Mod); bad != nil {
		return *bad
	}
	return h.stored(q, "compareAndSwap", http.StatusOK, id, value)
}

// patchable checks what a PATCH needs before the object is read.
func (h *Handler) patchable(q *query) *answer {
	decoration := q.kind.kind == resource.GraphQLCostDecorations
	if decoration {
		change, ok := inspect.Object(q.body)
		if !ok {
			return refusal("invalid configuration")
		}
		if change["service_id"] != nil {
			return refusal("service_id can not be patched")
		}
		if bad := h.decoratedTwice(q.ctx, q.parent, q.id, change["field_path"]); bad != nil {
			return bad
		}
		q.sub = ""
	}
	switch {
	case q.kind.kind == resource.Secrets && q.id == "":
		return refusal("no secret id")
	case q.id == "":
		return refusal("missing %s id", q.kind.word)
	case !q.hasBody:
		return refusal("missing new configuration")
	}
	if _, ok := q.body.(object); !ok && q.sub == "" {
		if list, isList := q.body.([]any); !isList || len(list) > 0 {
			return refusal("invalid configuration")
		}
	}
	return nil
}
