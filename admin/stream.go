package admin

import (
	"errors"
	"net/http"
	"slices"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
)

func (h *Handler) checkStreamRoute(c *candidate) *answer {
	return firstBad(c.valid,
		func() *answer { return h.refers(c, "upstream_id", resource.Upstreams, "upstream") },
		func() *answer { return h.refers(c, "service_id", resource.Services, "service") },
		func() *answer { return h.checkSuperior(c) },
		func() *answer { return h.checkStreamPlugins(c) },
		func() *answer { return checkAddr(c.value, "remote_addr") },
		func() *answer { return checkAddr(c.value, "server_addr") },
		func() *answer { return h.checkProtocol(c) },
	)
}

// checkSuperior checks the stream route that this one is subordinate to.
func (h *Handler) checkSuperior(c *candidate) *answer {
	protocol, _ := c.value["protocol"].(object)
	id := idText(protocol["superior_id"])
	if id == "" || c.alone {
		return nil
	}
	if id == c.id {
		return refusal("stream route can not set itself as superior_id")
	}
	ch, err := h.Store.Get(c.ctx, resource.StreamRoutes, id)
	if errors.Is(err, configcenter.ErrNotFound) {
		return refusal("failed to fetch stream routes[%s], response code: 404", id)
	}
	if err != nil {
		a := fail(http.StatusServiceUnavailable, "failed to fetch stream routes[%s]: %s", id, err)
		return &a
	}
	superior, err := decodeStored(ch.Value)
	if err != nil {
		return refusal("failed to decode stream routes[%s]: %s", id, err)
	}
	mine, _ := protocol["name"].(string)
	if other, ok := superior["protocol"].(object); ok && other["name"] != mine {
		theirs, _ := other["name"].(string)
		return refusal("protocol mismatch: subordinate protocol [%s] does not match superior protocol [%s]", mine, theirs)
	}
	return nil
}

// checkAddr checks an address or network, if the member is there.
func checkAddr(conf object, member string) *answer {
	text, ok := conf[member].(string)
	if !ok || inspect.IsNetwork(text) {
		return nil
	}
	return refusal("invalid %s: %s", member, text)
}

func (h *Handler) checkProtocol(c *candidate) *answer {
	protocol, ok := c.value["protocol"].(object)
	if !ok {
		return nil
	}
	name, _ := protocol["name"].(string)
	if !slices.Contains(h.Protocols, name) {
		return refusal("unknown protocol [%s]", name)
	}
	if conf, ok := protocol["conf"]; ok && name == "redis" {
		if err := h.redis.Validate(conf); err != nil {
			return refusal("%s", err)
		}
	}
	return nil
}

// redisProtocol is the schema of protocol.conf for redis.
const redisProtocol = `{"type":"object","properties":{"faults":{"type":"array","minItems":1,"items":{"type":"object",
"required":["commands","delay"],"properties":{"commands":{"type":"array","minItems":1,"items":{"type":"string"}},
"key":{"type":"string","minLength":1},"delay":{"type":"number","description":"additional delay in seconds"}}}}}}`
