package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

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
	up, ok := asObject(v)
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
		if port, ok := portOf(addr); ok && (port < 1 || port > 65535) {
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
	return checkHash(up)
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
	if value, err := decodeStored(ch.Value); err != nil || value["type"] != "client" {
		return refusal("failed to fetch ssl info by ssl id [%s], wrong ssl type", id)
	}
	return nil
}

// What a chash key may be, by hash_on. The first lets through "[", "\" and the
// like after arg_, as the schema of APISIX does.
const (
	hashVars   = `^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$`
	hashHeader = `^[a-zA-Z0-9-_]+$`
)

var chashKeys = map[string]struct {
	text string
	re   *regexp.Regexp
}{
	"vars":   {hashVars, regexp.MustCompile(hashVars)},
	"header": {hashHeader, regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)},
	"cookie": {hashHeader, regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)},
}

func checkHash(up object) *answer {
	if up["type"] != "chash" {
		return nil
	}
	on, ok := up["hash_on"].(string)
	if !ok {
		on = "vars"
	}
	key, given := up["key"].(string)
	if on != "consumer" && !given {
		return refusal("missing key")
	}
	if want, ok := chashKeys[on]; ok && !isSecretRef(key) && !want.re.MatchString(key) {
		return refusal("invalid configuration: failed to match pattern %s with %s",
			`"`+want.text+`"`, `"`+key+`"`)
	}
	return nil
}

// portOf returns the port of "host:port" or "[v6]:port".
func portOf(addr string) (int, bool) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.HasSuffix(addr, "]") || addr[0] != '[' && strings.Count(addr, ":") > 1 ||
		addr[0] == '[' && addr[i-1] != ']' {
		return 0, false
	}
	port, err := strconv.Atoi(addr[i+1:])
	return port, err == nil
}
