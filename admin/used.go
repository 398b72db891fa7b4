package admin

import (
	"context"
	"fmt"

	"sluice/configcenter"
	"sluice/configcenter/resource"
)

// ctx shortens signatures in this package.
type ctx = context.Context

// user finds the first object of kind k for which uses says yes.
func (h *Handler) user(c ctx, k resource.Kind, from Lister, uses func(object) bool) (id string, found bool, err error) {
	list, err := from.List(c, k)
	if err != nil {
		return "", false, err
	}
	for _, ch := range list {
		value, err := decodeStored(ch.Value)
		if err == nil && uses(value) {
			return ch.ID, true, nil
		}
	}
	return "", false, nil
}

// usage is one way in which an object can be in use; format gets the user's id.
type usage struct {
	kind   resource.Kind
	format string
	uses   func(object) bool
}

func (h *Handler) firstUse(c ctx, usages ...usage) (string, error) {
	for _, u := range usages {
		id, found, err := h.user(c, u.kind, h.Cache, u.uses)
		if err != nil {
			return "", err
		}
		if found {
			return fmt.Sprintf(u.format, id), nil
		}
	}
	return "", nil
}

// by says whether a member holds id.
func by(member, id string) func(object) bool {
	return func(o object) bool { return o[member] != nil && idText(o[member]) == id }
}

func (h *Handler) serviceUsed(c ctx, id string) (string, error) {
	const text = "can not delete this service directly, %s [%%s] is still using it now"
	return h.firstUse(c,
		usage{resource.Routes, fmt.Sprintf(text, "route"), by("service_id", id)},
		usage{resource.StreamRoutes, fmt.Sprintf(text, "stream_route"), by("service_id", id)})
}

func (h *Handler) groupUsed(c ctx, id string) (string, error) {
	return h.firstUse(c, usage{resource.Consumers,
		"can not delete this consumer group, consumer [%s] is still using it now", by("group_id", id)})
}

func (h *Handler) pluginConfigUsed(c ctx, id string) (string, error) {
	return h.firstUse(c, usage{resource.Routes,
		"can not delete this plugin config, route [%s] is still using it now", by("plugin_config_id", id)})
}

func (h *Handler) protoUsed(c ctx, id string) (string, error) {
	uses := func(o object) bool {
		confs, _ := o["plugins"].(object)
		conf, _ := confs["grpc-transcode"].(object)
		return by("proto_id", id)(conf)
	}
	return h.firstUse(c,
		usage{resource.Routes, "can not delete this proto, route [%s] is still using it now", uses},
		usage{resource.Services, "can not delete this proto, service [%s] is still using it now", uses})
}

func (h *Handler) upstreamUsed(c ctx, id string) (string, error) {
	inPlugin := func(o object) bool { return splitsTo(o, id) }
	var usages []usage
	for _, in := range []struct {
		kind resource.Kind
		word string
		own  bool // has upstream_id itself
	}{
		{resource.Routes, "route", true}, {resource.Services, "service", true},
		{resource.PluginConfigs, "plugin_config", false}, {resource.Consumers, "consumer", false},
		{resource.ConsumerGroups, "consumer_group", false}, {resource.GlobalRules, "global_rules", false},
	} {
		usages = append(usages, usage{in.kind,
			"can not delete this upstream, plugin in " + in.word + " [%s] is still using it now", inPlugin})
		if in.own {
			usages = append(usages, usage{in.kind,
				"can not delete this upstream, " + in.word + " [%s] is still using it now", by("upstream_id", id)})
		}
	}
	return h.firstUse(c, usages...)
}

// splitsTo says whether the traffic-split plugin of an object names the upstream.
func splitsTo(o object, id string) bool {
	confs, _ := o["plugins"].(object)
	conf, _ := confs["traffic-split"].(object)
	rules, _ := conf["rules"].([]any)
	for _, r := range rules {
		rule, _ := r.(object)
		weighted, _ := rule["weighted_upstreams"].([]any)
		for _, w := range weighted {
			if o, _ := w.(object); by("upstream_id", id)(o) {
				return true
			}
		}
	}
	return false
}

func (h *Handler) streamRouteUsed(c ctx, id string) (string, error) {
	user, found, err := h.user(c, resource.StreamRoutes, h.Store, func(o object) bool {
		protocol, _ := o["protocol"].(object)
		return by("superior_id", id)(protocol)
	})
	if err != nil || !found {
		return "", err
	}
	return fmt.Sprintf("can not delete this stream route directly, stream route [%s] is still using it as superior_id", user), nil
}

// check that a Store may serve as the local view.
var _ Lister = configcenter.Store(nil)
