package admin

import (
	"errors"
	"net/http"
	"net/netip"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
)

func (h *Handler) checkUpstreamObject(c *candidate) *answer { return h.checkUpstream(c, c.value) }

// checkInline checks the upstream inside a route or service.
func (h *Handler) checkInline(c *candidate) *answer {
	v, given := c.value["upstream"]
	if !given {
		return nil
	}
	up, ok := inspect.Object(v)
	if !ok {
		return nil // the schema refused it
	}
	return h.checkUpstream(c, up)
}

func (h *Handler) checkUpstream(c *candidate, up object) *answer {
	list, _ := up["nodes"].([]any)
	for _, n := range list {
		node, _ := n.(object)
		host, _ := node["host"].(string)
		if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
			return refusal("invalid configuration: IPv6 address must be enclosed with '[' and ']'")
		}
	}
	if err := h.schemas["upstream"].Validate(up); err != nil {
		return refusal("invalid configuration: %s", err)
	}
	nodes, _ := up["nodes"].(object)
	for _, addr := range sorted(nodes) {
		if port, ok := inspect.Port(addr); ok && (port < 1 || port > 65535) {
			return refusal("invalid port %d", port)
		}
	}
	tls, _ := up["tls"].(object)
	if bad := h.clientCertExists(c, tls); bad != nil {
		return bad
	}
	if host, _ := up["upstream_host"].(string); up["pass_host"] == "rewrite" && host == "" {
		return refusal("`upstream_host` can't be empty when `pass_host` is `rewrite`")
	}
	if cert, ok := tls["client_cert"].(string); ok {
		key, _ := tls["client_key"].(string)
		if err := h.checkPair(cert, key); err != nil {
			return refusal("%s", err)
		}
	}
	if err := inspect.CheckHashKey(up); err != nil {
		return refusal("%s", err)
	}
	return nil
}

func (h *Handler) clientCertExists(c *candidate, tls object) *answer {
	id := idText(tls["client_cert_id"])
	if id == "" || c.alone {
		return nil
	}
	ch, err := h.Store.Get(c.ctx, resource.SSLs, id)
	if errors.Is(err, configcenter.ErrNotFound) {
		return refusal("failed to fetch ssl info by ssl id [%s], response code: 404", id)
	}
	if err != nil {
		a := fail(http.StatusServiceUnavailable, "failed to fetch ssl info by ssl id [%s]: %s", id, err)
		return &a
	}
	if ssl, err := decodeStored(ch.Value); err != nil || ssl["type"] != "client" {
		return refusal("failed to fetch ssl info by ssl id [%s], wrong ssl type", id)
	}
	return nil
}
