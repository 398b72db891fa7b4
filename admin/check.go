package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"sluice/admin/inspect"
	"sluice/configcenter"
	"sluice/configcenter/resource"
	"sluice/configcenter/schema"
	"sluice/gateway/redact"
)

// valid holds the candidate against its kind's schema.
func (c *candidate) valid() *answer {
	if err := c.kind.schema.Validate(c.value); err != nil {
		return refusal("invalid configuration: %s", err)
	}
	return nil
}

// firstBad runs checks until one refuses.
func firstBad(checks ...func() *answer) *answer {
	for _, check := range checks {
		if bad := check(); bad != nil {
			return bad
		}
	}
	return nil
}

func (h *Handler) checkRoute(c *candidate) *answer {
	if has(c.value, "host") && has(c.value, "hosts") {
		return refusal("only one of host or hosts is allowed")
	}
	if has(c.value, "remote_addr") && has(c.value, "remote_addrs") {
		return refusal("only one of remote_addr or remote_addrs is allowed")
	}
	return firstBad(c.valid,
		func() *answer { return h.checkInline(c) },
		func() *answer { return h.refers(c, "upstream_id", resource.Upstreams, "upstream") },
		func() *answer { return h.refers(c, "service_id", resource.Services, "service") },
		func() *answer { return h.refers(c, "plugin_config_id", resource.PluginConfigs, "plugin config") },
		func() *answer { return h.checkPlugins(c) },
		func() *answer { return h.checkVars(c.value["vars"]) },
		func() *answer { return checkSource(c.value["filter_func"], inspect.CheckFilterFunc) },
		func() *answer { return checkSource(c.value["script"], inspect.CheckScript) },
	)
}

func (h *Handler) checkService(c *candidate) *answer {
	return firstBad(c.valid,
		func() *answer { return h.checkInline(c) },
		func() *answer { return h.refers(c, "upstream_id", resource.Upstreams, "upstream") },
		func() *answer { return h.checkPlugins(c) },
		func() *answer { return checkSource(c.value["script"], inspect.CheckScript) },
	)
}

// checkSource checks Lua source, if it is there.
func checkSource(v any, check func(string) error) *answer {
	src, ok := v.(string)
	if !ok || inspect.IsSecretRef(src) {
		return nil
	}
	if err := check(src); err != nil {
		return refusal("%s", err)
	}
	return nil
}

func (h *Handler) checkProto(c *candidate) *answer {
	if bad := c.valid(); bad != nil {
		return bad
	}
	content, _ := c.value["content"].(string)
	if err := inspect.CheckProto(c.ctx, content); err != nil {
		return refusal("invalid content: %s", err)
	}
	return nil
}

func (h *Handler) checkPluginSet(c *candidate) *answer {
	return firstBad(c.valid, func() *answer { return h.checkPlugins(c) })
}

func (h *Handler) checkGlobalRule(c *candidate) *answer {
	if bad := h.checkPluginSet(c); bad != nil || h.Standalone != nil {
		return bad
	}
	rules, err := h.Store.List(c.ctx, resource.GlobalRules)
	if err != nil {
		return storeDownRef(err)
	}
	mine, _ := c.value["plugins"].(object)
	for _, ch := range rules {
		if ch.ID == c.id {
			continue
		}
		rule, err := decodeStored(ch.Value)
		if err != nil {
			continue // not in force either
		}
		theirs, _ := rule["plugins"].(object)
		for _, name := range sorted(mine) {
			if has(theirs, name) {
				return refusal("plugin '%s' already exists in global rule with id '%s'", name, ch.ID)
			}
		}
	}
	return nil
}

func (h *Handler) checkConsumer(c *candidate) *answer {
	if bad := c.valid(); bad != nil {
		return bad
	}
	if name, _ := c.value["username"].(string); c.id != "" && c.id != name {
		return refusal("wrong username")
	}
	return firstBad(
		func() *answer { return h.checkPlugins(c) },
		func() *answer { return h.checkUnique(c) },
		func() *answer { return h.refers(c, "group_id", resource.ConsumerGroups, "consumer group") },
	)
}

func (h *Handler) checkCredential(c *candidate) *answer {
	if bad := c.valid(); bad != nil {
		return bad
	}
	if bad := h.checkPlugins(c); bad != nil {
		return bad
	}
	enabled, _ := h.Plugins()
	confs, _ := c.value["plugins"].(object)
	for _, name := range sorted(confs) {
		spec, ok := enabled.Spec(name)
		if !ok {
			return refusal("unknown plugin %s", name)
		}
		if !spec.Auth {
			return refusal("only supports auth type plugins in consumer credential")
		}
	}
	return h.checkUnique(c)
}

// consumerExists checks the owner of a credential.
func (h *Handler) consumerExists(ctx ctx, name string) *answer {
	_, err := h.Store.Get(ctx, resource.Consumers, name)
	if errors.Is(err, configcenter.ErrNotFound) {
		a := fail(http.StatusNotFound, "consumer not found")
		return &a
	}
	if err != nil {
		return storeDownRef(err)
	}
	return nil
}

func (h *Handler) checkMetadata(c *candidate) *answer {
	if c.id == "" {
		return refusal("missing plugin name")
	}
	if h.Registry[c.id] == nil {
		if _, ok := h.eitherSpec(c.id); !ok {
			return refusal("invalid plugin name")
		}
	}
	s, err := h.metadataSchema(c.id)
	if err == nil && s != nil {
		err = hide(s, c.value, s.Validate(c.value))
	}
	if err != nil {
		return refusal("invalid configuration: %s", err)
	}
	return nil
}

func (h *Handler) checkSecret(c *candidate) *answer {
	manager := c.manager
	if c.alone {
		var ok bool
		if manager, _, ok = strings.Cut(idText(c.value["id"]), "/"); !ok {
			return refusal("invalid secret id: %s", idTextOrNil(c.value["id"]))
		}
	}
	if manager == "" {
		return refusal("missing secret type")
	}
	s := h.secrets[manager]
	if s == nil {
		return refusal("invalid secret manager: %s", manager)
	}
	if err := hide(s, c.value, s.Validate(c.value)); err != nil {
		return refusal("invalid configuration: %s", err)
	}
	return nil
}

// managerSecrets are what the configuration of a secret manager hides.
var managerSecrets = []string{"token", "secret_access_key", "session_token", "auth_config.private_key"}

// hide is err without the secrets of the value that it is about.
func hide(s *schema.Schema, value object, err error) error {
	if err == nil {
		return nil
	}
	raw, e := encode(value)
	if e != nil {
		return errors.New("the value cannot be shown")
	}
	return redact.Conf(raw, append(slices.Clone(s.EncryptFields()), managerSecrets...)).Error(err)
}

func idTextOrNil(v any) string {
	if id := idText(v); id != "" {
		return id
	}
	return "nil"
}

func (h *Handler) checkDecoration(c *candidate) *answer { return c.valid() }

// bind ties a cost decoration to the service of its path; other kinds pass.
func (h *Handler) bind(q *query) *answer {
	if q.kind.kind != resource.GraphQLCostDecorations {
		return nil
	}
	value, ok := inspect.Object(q.body)
	if !ok {
		return refusal("invalid configuration")
	}
	if own := value["service_id"]; own != nil && idText(own) != q.parent {
		return refusal("wrong service_id, it is taken from the path")
	}
	if _, err := h.Store.Get(q.ctx, resource.Services, q.parent); errors.Is(err, configcenter.ErrNotFound) {
		a := fail(http.StatusNotFound, "service not found")
		return &a
	} else if err != nil {
		return storeDownRef(err)
	}
	if bad := h.decoratedTwice(q.ctx, q.parent, q.id, value["field_path"]); bad != nil {
		return bad
	}
	value["service_id"] = q.parent
	q.body = value
	return nil
}

// decoratedTwice refuses a field that another decoration of the service has.
func (h *Handler) decoratedTwice(ctx ctx, service, id string, field any) *answer {
	path, ok := field.(string)
	if !ok {
		return nil // absent, or for the schema to refuse
	}
	list, err := h.below(ctx, resource.GraphQLCostDecorations, service)
	if err != nil {
		return storeDownRef(err)
	}
	for _, ch := range list {
		value, err := decodeStored(ch.Value)
		if err == nil && value["field_path"] == path && idText(value["id"]) != id {
			return refusal("field_path %s is already decorated on this service by [%s]", path, idText(value["id"]))
		}
	}
	return nil
}

// refers checks that the object named by a member exists.
func (h *Handler) refers(c *candidate, member string, k resource.Kind, word string) *answer {
	id := idText(c.value[member])
	if id == "" || c.alone {
		return nil
	}
	_, err := h.Store.Get(c.ctx, k, id)
	if errors.Is(err, configcenter.ErrNotFound) {
		return refusal("failed to fetch %s info by %s id [%s], response code: 404", word, word, id)
	}
	if err != nil {
		a := fail(http.StatusServiceUnavailable, "failed to fetch %s info by %s id [%s]: %s", word, word, id, err)
		return &a
	}
	return nil
}

// checkVars checks a vars expression.
func (h *Handler) checkVars(vars any) *answer {
	if vars == nil || h.Vars == nil {
		return nil
	}
	raw, err := encode(vars)
	if err == nil {
		err = h.Vars(raw)
	}
	if err != nil {
		return refusal("failed to validate the 'vars' expression: %s", err)
	}
	return nil
}

// uniqueMembers are the members of consumer parts that two consumers must not share.
var uniqueMembers = map[string]string{
	"key-auth":           "key",
	"basic-auth":         "username",
	"jwt-auth":           "key",
	"hmac-auth":          "key_id",
	"ldap-auth":          "user_dn",
	"ldap-auth-advanced": "user_dn",
}

// checkUnique refuses a credential that already leads to somebody else. It
// reads the cache: best effort, as in APISIX.
func (h *Handler) checkUnique(c *candidate) *answer {
	credential := c.kind.kind == resource.Credentials
	wanted := uniqueValues(c.value)
	if len(wanted) == 0 || h.Standalone != nil || credential && c.alone {
		return nil
	}
	self, _ := c.value["username"].(string)
	if credential {
		self = c.parent
	}
	for _, k := range []resource.Kind{resource.Consumers, resource.Credentials} {
		list, err := h.Cache.List(c.ctx, k)
		if err != nil {
			h.Log.Warn("duplicate keys not checked", "err", err)
			return nil
		}
		for _, ch := range list {
			owner, id, _ := strings.Cut(ch.ID, "/credentials/")
			if owner == self && (!credential || id == c.id) {
				continue
			}
			if bad := h.sharesKey(ch, k, owner, id, wanted); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func uniqueValues(value object) map[string]string {
	confs, _ := value["plugins"].(object)
	found := map[string]string{}
	for name, member := range uniqueMembers {
		conf, _ := confs[name].(object)
		if v, ok := conf[member].(string); ok && !inspect.IsSecretRef(v) {
			found[name] = v
		}
	}
	return found
}

func (h *Handler) sharesKey(ch configcenter.Change, k resource.Kind, owner, id string, wanted map[string]string) *answer {
	relevant := false
	for name := range wanted {
		relevant = relevant || strings.Contains(string(ch.Value), `"`+name+`"`)
	}
	if !relevant {
		return nil // the usual case, without decoding
	}
	value, err := decodeStored(ch.Value)
	if err != nil {
		return nil
	}
	h.unseal(h.kinds[string(k)], id, value)
	theirs := uniqueValues(value)
	for name, v := range wanted {
		if other, ok := theirs[name]; !ok || other != v {
			continue
		}
		who := "consumer: " + owner
		if id != "" {
			who = "credential: " + id + " of consumer: " + owner
		}
		return refusal("duplicate %s of plugin %s found with %s", uniqueMembers[name], name, who)
	}
	return nil
}

func has(o object, name string) bool {
	v, ok := o[name]
	return ok && v != false
}
